"""The private PostgreSQL: only its owner gets in, and it comes back after whatever happened to it."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from fluxfarm.errors import SettingsError
from fluxfarm.local import server as server_module
from fluxfarm.local.identity import working_namespace
from fluxfarm.local.postgres import PrivatePostgres

QUICK = {"fsync": "off"}


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    surroundings = {"LANG": "C", "LC_ALL": "POSIX", "PGDATA": "/nowhere", "PGPORT": "1", "PGCLIENTENCODING": "LATIN1"}
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in surroundings.items():
                patch.setenv(name, value)
            running = stack.enter_context(PrivatePostgres(tmp_path_factory.mktemp("pg"), tuning=QUICK))
        yield running


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_is_utf8_with_builtin_collation_whatever_lang_says(postgres: PrivatePostgres) -> None:
    query = "SELECT pg_encoding_to_char(encoding) || ' ' || datlocprovider::text || ' ' || datlocale FROM pg_database"
    assert one(postgres.url, f"{query} WHERE datname = 'fluxfarm'") == "UTF8 b C.UTF-8"


def test_its_settings_are_not_bent_by_variables_of_the_caller(postgres: PrivatePostgres) -> None:
    assert one(postgres.url, "SHOW client_encoding") == "UTF8"


def test_refuses_a_wrong_and_a_missing_password(postgres: PrivatePostgres) -> None:
    for login in ("fluxfarm:wrong", "fluxfarm"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://{login}@127.0.0.1:{postgres.port}/fluxfarm")


def test_is_reached_over_loopback_alone_and_trusts_nobody(postgres: PrivatePostgres) -> None:
    assert one(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
    assert one(postgres.url, "SHOW unix_socket_directories") == ""
    assert one(postgres.url, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'") == 0


def test_ends_transactions_that_idle(postgres: PrivatePostgres) -> None:
    assert one(postgres.url, "SHOW idle_in_transaction_session_timeout") == "10s"


def test_the_password_is_readable_by_its_owner_alone(postgres: PrivatePostgres) -> None:
    assert stat.S_IMODE((postgres.directory / "postgres.password").stat().st_mode) == 0o600
    assert stat.S_IMODE(postgres.directory.stat().st_mode) == 0o700


def test_a_stranger_on_the_port_is_not_taken_for_it(postgres: PrivatePostgres, tmp_path: Path) -> None:
    other = PrivatePostgres(tmp_path, tuning=QUICK)
    other.prepare()
    other.port = postgres.port
    state = (postgres.data / "postmaster.pid").read_text()
    (other.data / "postmaster.pid").write_text(state)
    assert not other.ready()


def test_another_port_is_taken_when_one_is_lost_in_a_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], server_module.free_port()])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports))
        with PrivatePostgres(tmp_path, tuning=QUICK) as postgres:
            assert postgres.port != taken.getsockname()[1]
            assert one(postgres.url, "SELECT 1") == 1


def test_keeps_its_rows_when_killed(tmp_path: Path) -> None:
    with PrivatePostgres(tmp_path, tuning=QUICK) as postgres:
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        os.kill(postgres.pid, signal.SIGKILL)
    with PrivatePostgres(tmp_path, tuning=QUICK) as postgres:
        assert one(postgres.url, "SELECT count(*) FROM kept") == 1000


def test_a_wished_password_holds_from_the_next_start_on(tmp_path: Path) -> None:
    with PrivatePostgres(tmp_path, tuning=QUICK) as server:
        old = server.url
        server.wish_new_password()
        assert one(old, "SELECT 1") == 1
    with PrivatePostgres(tmp_path, tuning=QUICK) as server:
        assert one(server.url, "SELECT 1") == 1
        old_password, new_password = old.split(":")[2].split("@")[0], server.url.split(":")[2].split("@")[0]
        assert old_password != new_password
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url.replace(new_password, old_password))
        assert [path.name for path in tmp_path.glob("*.next")] == []


def test_a_start_that_died_between_the_change_and_its_note_is_healed(tmp_path: Path) -> None:
    with PrivatePostgres(tmp_path, tuning=QUICK) as server:
        server.wish_new_password()
        wished = next(tmp_path.glob("*.next")).read_text().strip()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE fluxfarm PASSWORD '{wished}'")
    with PrivatePostgres(tmp_path, tuning=QUICK) as server:
        assert one(server.url, "SELECT 1") == 1
        assert wished in server.url


def test_replaces_a_server_that_an_earlier_run_left(tmp_path: Path) -> None:
    earlier = PrivatePostgres(tmp_path, tuning=QUICK)
    command = earlier.next_command()
    left = subprocess.Popen(command, env=dict(earlier.environment()), stderr=subprocess.DEVNULL, start_new_session=True)
    with PrivatePostgres(tmp_path, tuning=QUICK) as postgres:
        assert left.wait(10) == 0
        assert one(postgres.url, "SELECT 1") == 1


def test_leaves_a_stranger_alone_whose_number_stands_in_the_pid_file(tmp_path: Path) -> None:
    with PrivatePostgres(tmp_path, tuning=QUICK) as postgres:
        content = (postgres.data / "postmaster.pid").read_text()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (postgres.data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *content.split("\n")[1:]]))
        with PrivatePostgres(tmp_path, tuning=QUICK) as again:
            assert one(again.url, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_heals_an_interrupted_first_start(tmp_path: Path) -> None:
    half = tmp_path / "postgres.new-half"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with PrivatePostgres(tmp_path, tuning=QUICK) as postgres:
        assert one(postgres.url, "SELECT 1") == 1
    assert not half.exists()


def test_says_what_to_install_when_the_wheel_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'fluxfarm\[local\]'"):
        PrivatePostgres(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_says_whose_the_data_is_when_it_is_another_accounts(tmp_path: Path) -> None:
    os.chown(tmp_path, 54321, 54321)
    with pytest.raises(SettingsError, match="belongs to the account with number 54321"):
        PrivatePostgres(tmp_path)


ORDINARY = """
import os, sys
from pathlib import Path
from fluxfarm.local.postgres import PrivatePostgres
with PrivatePostgres(Path(sys.argv[1]), tuning={"fsync": "off"}) as postgres:
    print(os.geteuid() == 0, bool(postgres.answers()))
"""


@pytest.mark.skipif(working_namespace() is None, reason="needs user namespaces to become an ordinary user")
def test_runs_for_an_ordinary_user_in_a_folder_that_is_his_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    command = [*(working_namespace() or ()), sys.executable, "-c", ORDINARY, str(tmp_path / "data")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.split() == ["False", "True"], ran.stderr


@pytest.mark.skipif(os.geteuid() != 0 or working_namespace() is None, reason="needs root and user namespaces")
def test_runs_for_a_user_whom_the_system_has_no_name_for(tmp_path: Path) -> None:
    nameless = ("unshare", "--user", "--map-user=54321", "--map-group=54321")
    command = [*nameless, sys.executable, "-c", ORDINARY, str(tmp_path / "data")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.split() == ["False", "True"], ran.stderr


OWNER_KILLED = """
import sys, time
from pathlib import Path
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.valkey import PrivateValkey
here = Path(sys.argv[1])
with PrivatePostgres(here / "pg", tuning={"fsync": "off"}), PrivateValkey(here / "vk"):
    print("up", flush=True)
    time.sleep(600)
"""


def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path, traces, eventually: Callable[..., None]) -> None:
    command = [sys.executable, "-c", OWNER_KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=traces.environment) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        assert any("valkey" in words for words in traces.living())
        owner.kill()
    eventually(lambda: not traces.living(), 10)
