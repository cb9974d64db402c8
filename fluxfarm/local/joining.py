"""A machine as a part of somebody else's farm: its settings, made of a join token, and what must hold first."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis

from fluxfarm import schema
from fluxfarm.catalog import Catalog, load_catalog
from fluxfarm.database import Database
from fluxfarm.errors import SettingsError, Unavailable
from fluxfarm.local.join_token import NAMES, JoinToken
from fluxfarm.local.plan import quirks
from fluxfarm.local.private_files import write_private
from fluxfarm.local.store_proof import prove_store
from fluxfarm.settings import Settings

PATIENCE = 5
TOKENS = NAMES | {"FLUXFARM_DATABASE_URL", "FLUXFARM_REDIS_URL", "FLUXFARM_CATALOG"}
"""What the token decides, whatever this machine's own environment says."""


@dataclass(frozen=True, slots=True)
class Member:
    """A machine that works for a farm."""

    token: JoinToken
    settings: Settings
    catalog: Catalog
    environment: Mapping[str, str]


def make_member(token: JoinToken, environment: Mapping[str, str], *, data_dir: Path, store: Path | None) -> Member:
    """Put together what the token says and what belongs to this machine.

    Raises:
        SettingsError: the place of the pictures is missing here, or a setting is wrong.

    """
    kept = {name: value for name, value in environment.items() if name not in TOKENS and not name.startswith("PG")}
    told = {
        **kept,
        **token.settings,
        "FLUXFARM_DATABASE_URL": token.database_url,
        "FLUXFARM_REDIS_URL": token.redis_url,
        "FLUXFARM_DATA_DIR": str(data_dir),
        **_catalogue(token, data_dir),
        **_place(token, store, kept),
    }
    settings = Settings.from_environment(told)
    catalog = load_catalog(settings)
    return Member(token, settings, catalog, {**told, **quirks(catalog, kept)})


def check_farm(member: Member) -> None:
    """See that the farm lets this machine in, runs the same release, and has the same store.

    Raises:
        SettingsError: one of them is not so; says what to do.
        Unavailable: the farm does not answer.

    """
    _check_password(member)
    _check_redis(member)
    database = Database(member.settings.require_database_url(), pool_size=1, application="fluxfarm join")
    try:
        with database.session_scope() as session:
            current = schema.current(session)
        if current != schema.head():
            raise SettingsError(
                f"the farm's schema is at {current} and this machine's release wants {schema.head()}; "
                "install the same release of fluxfarm on both machines"
            )
        prove_store(member.settings, database, member.token.objects, member.token.host)
    finally:
        database.close()


def _catalogue(token: JoinToken, data_dir: Path) -> dict[str, str]:
    if token.catalog is None:
        return {}
    file = data_dir / "catalog.toml"
    write_private(file, token.catalog)
    return {"FLUXFARM_CATALOG": str(file)}


def _place(token: JoinToken, store: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Where pictures lie on this machine."""
    if token.objects is None:
        if store is not None:
            raise SettingsError("the farm keeps its pictures in a bucket; leave --store out")
        return {}
    chosen = store or Path(environment.get("FLUXFARM_STORE_DIR") or token.objects)
    if not chosen.is_dir():
        raise SettingsError(
            f"there is no directory {chosen} on this machine; mount the directory {token.objects} of {token.host}, "
            "where the farm keeps its pictures, here, and name the place where it is mounted with --store"
        )
    return {"FLUXFARM_STORE_DIR": str(chosen.absolute())}


def _check_password(member: Member) -> None:
    url = member.settings.require_database_url().replace("+psycopg", "", 1)
    try:
        psycopg.connect(url, connect_timeout=PATIENCE).close()
    except psycopg.OperationalError as error:
        if "authentication failed" in str(error) or "pg_hba.conf" in str(error):
            raise _refused(member, "database") from None
        raise _silent(url, "database") from None


def _check_redis(member: Member) -> None:
    url = member.settings.require_redis_url()
    client = redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
    try:
        client.ping()
    except redis.AuthenticationError:
        raise _refused(member, "Redis") from None
    except redis.RedisError:
        raise _silent(url, "Redis") from None
    finally:
        client.close()


def _refused(member: Member, part: str) -> SettingsError:
    return SettingsError(
        f"the farm's {part} refuses the password in this join token, so it is an old one; "
        f"`fluxfarm join-token` on {member.token.host} prints a new one"
    )


def _silent(url: str, part: str) -> Unavailable:
    address = urlsplit(url)
    return Unavailable(
        f"the farm's {part} does not answer at {address.hostname} port {address.port}; "
        "is the farm running, and may this machine reach that port?"
    )
