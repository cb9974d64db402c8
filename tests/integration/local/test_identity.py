"""Who PostgreSQL runs as: root never, and what was decided once for some data stays."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from fluxfarm.errors import SettingsError
from fluxfarm.local.identity import Machine, choose_identity, reachable_by_all
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.valkey import valkey_binary

PROGRAMS = Path("/usr")
NAMESPACE = ("unshare", "--user")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")


@pytest.fixture
def shared_home() -> Iterator[Path]:
    """A place that every account reaches; pytest's own folders are closed to others."""
    made = Path(tempfile.mkdtemp(prefix="fluxfarm-test-"))
    made.chmod(0o755)
    yield made / "shared"
    shutil.rmtree(made)


def test_an_ordinary_user_runs_it_himself(tmp_path: Path) -> None:
    chosen = choose_identity(Machine(root=False, namespace=None), directory=tmp_path, programs=PROGRAMS)
    assert (chosen.prefix, chosen.home) == ((), tmp_path)


def test_root_runs_it_in_a_namespace(tmp_path: Path) -> None:
    machine = Machine(root=True, namespace=NAMESPACE, shared_home=tmp_path / "shared")
    chosen = choose_identity(machine, directory=tmp_path, programs=PROGRAMS)
    assert (chosen.prefix, chosen.home) == (NAMESPACE, tmp_path)


def test_a_user_without_a_name_runs_it_in_a_namespace_or_is_told_why_not(tmp_path: Path) -> None:
    machine = Machine(root=False, named=False, namespace=NAMESPACE, shared_home=tmp_path / "shared")
    assert choose_identity(machine, directory=tmp_path, programs=PROGRAMS).prefix == NAMESPACE
    with pytest.raises(SettingsError, match="only runs for a user whom /etc/passwd names"):
        choose_identity(replace(machine, namespace=None), directory=tmp_path, programs=PROGRAMS)


def test_data_made_in_a_namespace_is_not_silently_left_behind(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    machine = Machine(root=True, namespace=None, shared_home=tmp_path / "shared")
    with pytest.raises(SettingsError, match="was made in a user namespace"):
        choose_identity(machine, directory=tmp_path, programs=PROGRAMS)


def test_says_what_to_do_where_root_has_no_way(tmp_path: Path) -> None:
    nobody = Machine(root=True, namespace=None, accounts=(), shared_home=tmp_path / "shared")
    with pytest.raises(SettingsError, match="run fluxfarm as an ordinary user, or give FLUXFARM_DATABASE_URL"):
        choose_identity(nobody, directory=tmp_path, programs=PROGRAMS)
    tmp_path.chmod(0o700)
    closed = replace(nobody, accounts=("nobody",))
    with pytest.raises(SettingsError, match="the account nobody cannot reach"):
        choose_identity(closed, directory=tmp_path, programs=PROGRAMS)


@as_root
def test_runs_as_an_account_and_keeps_its_data_there(tmp_path: Path, shared_home: Path) -> None:
    """Also once namespaces are allowed again."""
    tmp_path.chmod(0o700)
    machine = Machine(root=True, namespace=None, shared_home=shared_home)
    with PrivatePostgres(tmp_path, tuning={"fsync": "off"}, machine=machine) as postgres:
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept ()")
    allowed_again = replace(machine, namespace=NAMESPACE)
    with PrivatePostgres(tmp_path, tuning={"fsync": "off"}, machine=allowed_again) as again:
        psycopg.connect(again.url).execute("SELECT FROM kept").connection.close()


@as_root
def test_programs_in_a_closed_folder_are_copied_to_where_the_account_can_run_them(
    tmp_path: Path, shared_home: Path
) -> None:
    programs = tmp_path / "site" / "wheel" / "install"
    (programs / "bin").mkdir(parents=True)
    (tmp_path / "site" / "wheel.libs").mkdir()
    shutil.copy(valkey_binary(), programs / "bin" / "postgres")
    tmp_path.chmod(0o700)
    machine = Machine(root=True, namespace=None, shared_home=shared_home)
    chosen = choose_identity(machine, directory=tmp_path, programs=programs)
    assert reachable_by_all(chosen.programs / "bin" / "postgres")
    assert (chosen.programs.parent.parent / "wheel.libs").is_dir()
    assert choose_identity(machine, directory=tmp_path, programs=programs) == chosen
