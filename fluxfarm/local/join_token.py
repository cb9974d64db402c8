"""What another machine must know to work for this farm, as one word that can be pasted; it is a secret."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Self
from urllib.parse import urlsplit

from fluxfarm.catalog import load_catalog
from fluxfarm.errors import SettingsError
from fluxfarm.settings import PREFIX, Settings

VERSION = 1
CARRIED = (
    "models",
    "weights",
    "enlarge_stand_ins",
    "bfl_license",
    "safety_policy",
    "safety_checker",
    "safety_combine",
    "safety_labels",
    "safety_threshold",
    "safety_limit_seconds",
    "picture_metadata",
    "s3_bucket",
    "s3_endpoint_url",
    "s3_region",
    "s3_access_key_id",
    "s3_secret_access_key",
    "s3_path_style",
    "s3_checksums",
    "lease_seconds",
    "idle_look_seconds",
    "stop_seconds",
    "fetch_limit_seconds",
    "fetch_max_bytes",
    "fetch_allow",
)
"""Settings that hold for every worker of a farm; what else there is belongs to a machine."""
NAMES = frozenset(PREFIX + name.upper() for name in CARRIED)
HERE = frozenset({"localhost", "127.0.0.1", "::1", None})


@dataclass(frozen=True, slots=True)
class JoinToken:
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    url: str
    """Where the farm's API is; for people."""
    host: str
    """The farm's machine, as it calls itself."""
    settings: Mapping[str, str] = field(repr=False)
    """The carried ones that are set, as environment variables."""
    catalog: str | None
    """The operator's own catalogue, as TOML."""
    objects: str | None
    """The directory of pictures on the farm's machine; None if they lie in a bucket."""

    def encode(self) -> str:
        content = json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a token back.

        Raises:
            SettingsError: it is none, was cut short, or comes from a release with another form.

        """
        try:
            word = "".join(text.split())
            content = json.loads(base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True))
            version = content.pop("version")
        except (binascii.Error, ValueError, KeyError, AttributeError, TypeError):
            raise SettingsError(
                "this is no join token, or only a part of one; `fluxfarm join-token` on the farm's machine prints it"
            ) from None
        if version != VERSION or content.keys() != {each.name for each in fields(cls)}:
            raise SettingsError(
                "this join token comes from another release of fluxfarm; install the same release on both machines"
            )
        return cls(**content)


def make_token(settings: Settings, environment: Mapping[str, str], *, url: str, host: str) -> JoinToken:
    """The token of a farm with these settings; `environment` is where they were read from.

    Raises:
        SettingsError: the database or Redis cannot be reached from another machine, or a setting is missing.

    """
    for name, address in (("database", settings.require_database_url()), ("Redis", settings.require_redis_url())):
        if urlsplit(address).hostname in HERE:
            raise SettingsError(
                f"the farm's {name} is reached from this machine alone; start the farm with "
                "`fluxfarm up --share ADDRESS`, an address of this machine that the other one reaches"
            )
    if settings.s3_bucket and settings.s3_endpoint_url and urlsplit(settings.s3_endpoint_url).hostname in HERE:
        raise SettingsError("FLUXFARM_S3_ENDPOINT_URL is reached from this machine alone; name one that others reach")
    carried = {name: value for name, value in environment.items() if name in NAMES and value.strip()}
    return JoinToken(
        database_url=settings.require_database_url(),
        redis_url=settings.require_redis_url(),
        url=url,
        host=host,
        settings={**carried, f"{PREFIX}MODELS": ",".join(load_catalog(settings).models)},
        catalog=settings.catalog.read_text() if settings.catalog else None,
        objects=None if settings.s3_bucket else str(settings.objects_directory.absolute()),
    )
