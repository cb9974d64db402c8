"""Every setting of fluxfarm: typed, read from the environment once at an entry point, and passed in from there.

A field `lease_seconds` is read from `FLUXFARM_LEASE_SECONDS`. An unknown `FLUXFARM_…` variable is an error, so that a
typing slip never silently leaves a default in force. `docs/settings.md` is generated from the help texts here.
"""

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from fluxfarm.errors import SettingsError
from fluxfarm.licences import bfl_license
from fluxfarm.loras import Allowed
from fluxfarm.safety_policy import Policy

PREFIX = "FLUXFARM_"
CLIENT_VARIABLES = frozenset({"FLUXFARM_URL", "FLUXFARM_API_KEY"})
"""Read by the command line as a client of the API; not settings of the service."""

ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?", re.ASCII)

Network = IPv4Network | IPv6Network
T = TypeVar("T")


def text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def path(value: str) -> Path:
    return Path(text(value)).expanduser().absolute()


def flag(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[value.strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def number(value: str) -> float:
    parsed = float(value)
    if not 0 < parsed < float("inf"):
        raise ValueError("must be a positive number")
    return parsed


def share(value: str) -> float:
    parsed = float(value)
    if not 0 < parsed <= 1:
        raise ValueError("must be a number above 0, up to 1")
    return parsed


def count(value: str) -> int:
    parsed = int(value)
    if parsed < 1:
        raise ValueError("must be a whole number of at least 1")
    return parsed


def words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def names(value: str) -> tuple[str, ...]:
    found = words(value)
    if not found:
        raise ValueError("must name at least one")
    return found


def names_or_none(value: str) -> tuple[str, ...]:
    return () if value.strip() == "none" else names(value)


def networks(value: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(word, strict=False) for word in words(value))


def origins(value: str) -> tuple[str, ...]:
    found = words(value)
    if not all(word == "*" or ORIGIN.fullmatch(word) for word in found):
        raise ValueError("must be origins as browsers write them, such as https://app.example.com, or *")
    return found


def pairs(value: str) -> tuple[tuple[str, str], ...]:
    found = [word.partition("=") for word in words(value)]
    if not all(name.strip() and right.strip() for name, _, right in found):
        raise ValueError("must look like name=value,name=value")
    return tuple((name.strip(), right.strip()) for name, _, right in found)


def one_of(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value

    return parse


def setting(parse: Callable[[str], T], description: str, *, default: Any, secret: bool = False) -> Any:
    """A field of `Settings`; left unset in the environment it takes `default`."""
    metadata = {"parse": parse, "description": description, "secret": secret}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    database_url: str | None = setting(
        text, "PostgreSQL, as postgresql://user:password@host:port/name", default=None, secret=True
    )
    redis_url: str | None = setting(
        text, "Redis or Valkey, as redis://:password@host:port/0; one node, not a cluster", default=None, secret=True
    )
    data_dir: Path = setting(
        path, "directory for the local store, generated secrets and private servers", default=Path(".fluxfarm")
    )
    public_url: str | None = setting(text, "the address clients use; every absolute link starts with it", default=None)
    trusted_proxies: tuple[Network, ...] = setting(
        networks, "networks whose X-Forwarded-* headers are believed", default=()
    )
    allowed_origins: tuple[str, ...] = setting(
        origins, "origins of web pages that may call the API, such as https://app.example.com; * for all", default=()
    )
    admin_bind: str | None = setting(
        text,
        "host:port on which `fluxfarm up` serves the admin API, for keys with the scope admin; unset: nowhere",
        default=None,
    )
    api_workers: int = setting(count, "API processes per machine", default=2)
    log_level: str = setting(
        one_of("debug", "info", "warning", "error"), "least severity that is logged", default="info"
    )

    catalog: Path | None = setting(
        path, "a TOML file whose models and weights are added to the built-in catalogue", default=None
    )
    models: tuple[str, ...] = setting(
        names, "models this farm accepts and serves, comma separated; none named: all of the catalogue", default=()
    )
    weights: tuple[tuple[str, str], ...] = setting(
        pairs, "weights per model: model=name in the catalogue, directory or hub id, comma separated", default=()
    )
    device: str = setting(text, "device of a worker: auto, cpu, cuda or cuda:N", default="auto")
    dtype: str = setting(
        one_of("auto", "float32", "float16", "bfloat16"),
        "number format of the pipeline; auto is bfloat16 on CUDA, float32 on CPU",
        default="auto",
    )
    offload: str = setting(
        one_of("auto", "none", "model", "group", "sequential"),
        "what lies on the device, the rest comes from the host when it is used: none: all, model: one part at a time, "
        "group: one block and the next, sequential: one layer; each needs less memory and more time; auto: the first "
        "of these that fits what is free of the device when the worker starts",
        default="auto",
    )
    quantise: str = setting(
        one_of("none", "fp8", "nf4"),
        "number format in which the largest weights lie in memory; less is half or a quarter of it, and changes "
        "pictures; needs the extra `quantised`",
        default="none",
    )
    text_encoders: str = setting(
        one_of("device", "cpu"),
        "where prompts are encoded; on the CPU they take none of the device's memory, and seconds each",
        default="device",
    )
    vae_tiling: str = setting(
        one_of("auto", "on", "off"),
        "pictures become latents and come back in overlapping tiles, to save memory; on: where they are larger than "
        "512 x 512; auto: above 1.5 megapixels, in larger tiles; off: never",
        default="auto",
    )
    compile: bool = setting(flag, "compile the transformer's repeated blocks before taking work", default=False)
    enlarge_stand_ins: bool = setting(
        flag, "enlarge what stand-in weights draw to the size that was asked for", default=True
    )
    loras: str = setting(
        one_of(*Allowed),
        "LoRAs that callers may ask for: any, also by URL; named: of the catalogue and of FLUXFARM_LORA_DIR; or none",
        default=Allowed.ANY,
    )
    lora_dir: Path | None = setting(
        path, "directory whose .safetensors files callers may name as LoRAs; unset: none", default=None
    )
    lora_max_bytes: int = setting(count, "largest LoRA that is loaded", default=512 * 1024 * 1024)
    lora_cache_bytes: int = setting(
        count, "how much of fetched LoRAs a machine keeps in its data directory", default=8 * 1024**3
    )
    lora_limit_seconds: float = setting(number, "time limit for fetching one LoRA", default=300.0)
    bfl_license: str | None = setting(
        bfl_license,
        "on what terms weights under the FLUX.1 [dev] licence run here: non-commercial, or commercial:<reference>; "
        "unset: they do not start, and the worker says why",
        default=None,
    )
    safety_policy: str = setting(
        one_of(*Policy),
        "who may leave pictures unchecked by disable_safety_checker: everybody, keys with the scope safety:off, or "
        "nobody; the policy of a model, tenant or key can only be stricter",
        default=Policy.DEFAULT_ON,
    )
    safety_off_forbidden: str = setting(
        one_of("refuse", "ignore"),
        "what becomes of disable_safety_checker where that may not be: refused with 403, or checked all the same, with "
        "a notice",
        default="refuse",
    )
    safety_checker: tuple[str, ...] | None = setting(
        names_or_none,
        "directories or hub ids (ID@REVISION) of checkers, comma separated: transformers image classifiers, or "
        "diffusers' StableDiffusionSafetyChecker; none: pictures are marked unchecked; unset: the weights' own, if "
        "they have one",
        default=None,
    )
    blocked_prompts: Path | None = setting(
        path, "a file of words whose prompts are refused, beside our own; docs/safety.md tells its form", default=None
    )
    safety_combine: str = setting(
        one_of("any", "all"), "of several checkers, whether any of them or only all withhold a picture", default="any"
    )
    safety_labels: tuple[str, ...] = setting(words, "labels of classifiers that block a picture", default=("nsfw",))
    safety_threshold: float = setting(share, "score, up to 1, from which such a label blocks", default=0.85)

    safety_limit_seconds: float = setting(
        number,
        "how long the checkers may take for a picture; it is then withheld, and the worker restarts",
        default=30.0,
    )
    moderation_days: int = setting(count, "how long the log of what was checked is kept", default=180)
    picture_metadata: bool = setting(
        flag,
        "write into each picture that a model drew it, and which (XMP, Exif); the law may demand it of you",
        default=True,
    )

    store_dir: Path | None = setting(
        path, "directory for pictures where there is no bucket; unset: `objects` in the data directory", default=None
    )
    s3_bucket: str | None = setting(text, "bucket for pictures; unset: a local directory", default=None)
    s3_endpoint_url: str | None = setting(text, "endpoint of an S3-compatible store; unset: AWS", default=None)
    s3_region: str = setting(text, "region", default="us-east-1")
    s3_access_key_id: str | None = setting(text, "access key; unset: boto3's own search", default=None)
    s3_secret_access_key: str | None = setting(text, "secret key", default=None, secret=True)
    s3_path_style: bool = setting(flag, "put the bucket into the path, not the host name", default=True)
    s3_checksums: str = setting(
        one_of("when_required", "when_supported"),
        "when boto3 adds checksums; some stores lack them",
        default="when_required",
    )
    s3_public_endpoint_url: str | None = setting(
        text, "endpoint that clients can reach; set: /files redirects there instead of streaming", default=None
    )

    link_secrets: tuple[str, ...] = setting(
        words, "secrets for signed links, newest first; unset: generated in the data directory", default=(), secret=True
    )
    fair_between: str = setting(
        one_of("tenant", "key"), "who shares the farm fairly: tenants, or their keys one by one", default="tenant"
    )
    max_body_bytes: int = setting(count, "largest request body", default=16 * 1024 * 1024)
    max_waits: int = setting(
        count, "calls of one key that an API process holds at once; more are answered at once", default=200
    )
    hold_seconds: float = setting(
        number, "longest that a synchronous call of the doors of Oxen and NVIDIA NIM is held", default=300.0
    )
    max_queued: int = setting(count, "most queued predictions of one tenant and model", default=1000)
    max_queue_seconds: float = setting(
        number, "age at which a queued prediction fails with queue_timeout", default=24 * 3600.0
    )
    max_attempts: int = setting(count, "leases a prediction may lose before it fails with worker_lost", default=3)
    lease_seconds: float = setting(
        number, "how long a worker may be silent before its prediction goes back to the queue", default=30.0
    )
    sweep_seconds: float = setting(number, "pause between two rounds of the maintenance process", default=2.0)
    idle_look_seconds: float = setting(
        number, "pause between two looks of an idle worker into the database", default=2.0
    )
    stop_seconds: float = setting(
        number, "how long a stopping worker goes on with a render before it hands it back", default=8.0
    )

    load_limit_seconds: float = setting(number, "time limit for loading and warming a pipeline", default=1800.0)
    step_limit_seconds: float = setting(
        number, "time limit for one stage of a render on the device: prompt, step or decode", default=120.0
    )
    store_limit_seconds: float = setting(
        number, "time limit for checking, encoding and storing one picture", default=120.0
    )
    fetch_limit_seconds: float = setting(number, "time limit for fetching one input picture", default=20.0)
    fetch_max_bytes: int = setting(count, "largest input picture fetched", default=20 * 1024 * 1024)
    fetch_allow: tuple[Network, ...] = setting(
        networks, "private networks that input pictures may be fetched from", default=()
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read every `FLUXFARM_…` variable; an empty one counts as unset.

        Raises:
            SettingsError: a variable is unknown or its value does not parse.

        """
        fields = {PREFIX + f.name.upper(): f for f in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, raw in environment.items():
            if not name.startswith(PREFIX) or name in CLIENT_VARIABLES or not raw.strip():
                continue
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                raise SettingsError(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
            try:
                values[fields[name].name] = fields[name].metadata["parse"](raw)
            except ValueError as error:
                shown = "its value" if fields[name].metadata["secret"] else repr(raw)
                raise SettingsError(f"{name}: {shown} is not valid: {error}") from None
        return cls(**values)

    @property
    def objects_directory(self) -> Path:
        """Where pictures lie if there is no bucket."""
        return self.store_dir or self.data_dir / "objects"

    def require_database_url(self) -> str:
        """The database URL with the psycopg driver named, as SQLAlchemy wants it."""
        if self.database_url is None:
            raise SettingsError("FLUXFARM_DATABASE_URL is not set; give one, or start everything with `fluxfarm up`")
        scheme, colon, rest = self.database_url.partition("://")
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg") or not colon:
            raise SettingsError("FLUXFARM_DATABASE_URL must start with postgresql://")
        _require_port("FLUXFARM_DATABASE_URL", self.database_url)
        return "postgresql+psycopg://" + rest

    def require_redis_url(self) -> str:
        if self.redis_url is None:
            raise SettingsError("FLUXFARM_REDIS_URL is not set; give one, or start everything with `fluxfarm up`")
        if not self.redis_url.startswith(("redis://", "rediss://")) or "," in self.redis_url:
            raise SettingsError(
                "FLUXFARM_REDIS_URL must be one redis:// or rediss:// address; clusters are not supported"
            )
        _require_port("FLUXFARM_REDIS_URL", self.redis_url)
        return self.redis_url


def _require_port(name: str, url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise SettingsError(
            f"{name}: its port must be a number up to 65535, and special characters %-encoded"
        ) from None
