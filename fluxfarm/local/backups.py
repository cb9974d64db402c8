"""A farm's rows as one file, and back: PostgreSQL's own programs on fluxfarm's own tables and nobody else's."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from fluxfarm import schema
from fluxfarm.errors import SettingsError, Unavailable
from fluxfarm.local.postgres import programs
from fluxfarm.tables import Table

TABLES = tuple(f"public.{name}" for name in (*sorted(Table.metadata.tables), "alembic_version"))
WITH_TLS = ("require", "verify-ca", "verify-full")
CONNECT_SECONDS = 5

# With all that is in them; otherwise what a later release added would stay and be in the way of its migration.
MAKE_ROOM = f"""
DROP TABLE IF EXISTS {", ".join(TABLES)} CASCADE;
CREATE OR REPLACE FUNCTION public.moderation_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('fluxfarm.forgetting', true) = 'on' THEN RETURN OLD; END IF;
    RAISE EXCEPTION 'the moderation log is append-only';
END $$;
"""
"""A backup holds tables and their triggers, but not what the triggers call."""
# The planner knows nothing of new tables; an older release's backup lacks some.
COUNT_ANEW = f"""
SELECT 'ANALYZE ' || name FROM unnest(string_to_array('{",".join(TABLES)}', ',')) AS name
WHERE to_regclass(name) IS NOT NULL \\gexec
"""  # noqa: S608 - our own names
HOLDINGS = "SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM predictions)"
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'fluxfarm%'
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a database holds."""

    version: str | None
    """Of the schema; None for an empty database."""
    tenants: int
    predictions: int
    busy: bool
    """Processes of a farm are connected to it."""


def known_versions() -> set[str]:
    """The schema's versions that this release knows the way from."""
    return {path.name.partition("_")[0] for path in (schema.MIGRATIONS / "versions").glob("[0-9]*.py")}


def look(url: str) -> Contents:
    """What is in the database now.

    Raises:
        Unavailable: it does not answer.

    """
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            (others,) = _row(connection, OTHERS)
            (there,) = _row(connection, "SELECT to_regclass('public.alembic_version')")
            if there is None:
                return Contents(None, 0, 0, busy=others > 0)
            (version,) = _row(connection, "SELECT max(version_num) FROM alembic_version")
            tenants, predictions = _row(connection, HOLDINGS)
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database does not answer: {str(error).splitlines()[-1]}") from None
    return Contents(version, tenants, predictions, busy=others > 0)


def dump(url: str, file: Path) -> None:
    """Write the rows of one moment to a file that only its owner may read; the farm may go on meanwhile."""
    draft = file.with_name(f".{file.name}.part")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    command = [_program("pg_dump", url), "--format=custom", "--no-owner", "--no-privileges", f"--file={draft}"]
    try:
        with _complaints() as errors:
            named = [f"--table={name}" for name in TABLES]
            words = [*command, *named, _address(url)]
            done = subprocess.run(words, stderr=errors, env=_environment(url), check=False)  # noqa: S603 - our words
            _check(done.returncode, "pg_dump", errors)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def version_in(file: Path, url: str) -> str:
    """The schema's version in a backup that is to be restored to `url`.

    Raises:
        SettingsError: the file is no backup of a farm, or a later release made it.

    """
    words = [_program("pg_restore", url), "--data-only", "--table=alembic_version", "--file=-", str(file)]
    lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()  # noqa: S603 - our words
    heads = [number for number, line in enumerate(lines) if line.startswith("COPY public.alembic_version")]
    if not heads:
        raise SettingsError(f"{file} is no backup that `fluxfarm backup` made, or it is damaged")
    version = lines[heads[0] + 1]
    if version not in known_versions():
        raise SettingsError(
            f"{file} comes from a later release: its schema is at {version} and this release knows {schema.head()}"
        )
    return version


def restore(url: str, file: Path) -> None:
    """Replace fluxfarm's tables by those in the file, in one transaction: all of it or nothing."""
    reading = ["--no-owner", "--no-privileges", "--clean", "--if-exists", "--file=-", str(file)]
    writing = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "--file=-", _address(url)]
    with _complaints() as errors:
        source = subprocess.Popen([_program("pg_restore", url), *reading], stdout=subprocess.PIPE, stderr=errors)  # noqa: S603 - our words
        target = subprocess.Popen(  # noqa: S603 - our words
            [_program("psql", url), *writing],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environment(url),
        )
        try:
            _feed(source, target)
        finally:
            for process in (source, target):
                process.kill()
                process.wait()
        _check(source.returncode or target.returncode, "pg_restore", errors)


def _feed(source: subprocess.Popen[bytes], target: subprocess.Popen[bytes]) -> None:
    """Pass on what one writes to the other, which must not see an end of it unless it was whole: it would commit."""
    assert source.stdout is not None
    assert target.stdin is not None
    with suppress(BrokenPipeError):  # its exit status tells why
        target.stdin.write(MAKE_ROOM.encode())
        shutil.copyfileobj(source.stdout, target.stdin)
        if source.wait():
            target.kill()
        else:
            target.stdin.write(COUNT_ANEW.encode())
    with suppress(BrokenPipeError):
        target.stdin.close()
    source.stdout.close()
    target.wait()
    source.wait()


@contextmanager
def _complaints() -> Iterator[Any]:
    """Where a program's errors go, so that the last line can be shown."""
    with tempfile.TemporaryFile() as file:
        yield file


def _check(status: int, program: str, errors: Any) -> None:
    if status:
        errors.seek(0)
        said = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
        raise Unavailable(f"{program} failed, and nothing was changed: {said[-1] if said else f'exit status {status}'}")


def _row(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None
    return row


def _program(name: str, url: str) -> str:
    """PostgreSQL's program: the wheel's, or for a connection under TLS, which that one cannot make, the system's."""
    if conninfo_to_dict(url).get("sslmode") not in WITH_TLS:
        with suppress(SettingsError):
            return str(programs() / "bin" / name)
    found = shutil.which(name)
    if found is None:
        raise SettingsError(f"{name} is not installed; install PostgreSQL's client programs")
    return found


def _address(url: str) -> str:
    """Without the password, since others can read a command."""
    return "--dbname=" + make_conninfo(url, password=None)


def _environment(url: str) -> dict[str, str]:
    password = conninfo_to_dict(url).get("password")
    return {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
