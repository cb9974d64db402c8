"""Rows outlive their cluster: what `fluxfarm backup` wrote, `fluxfarm restore` brings back, all of it or nothing."""

import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from click.testing import CliRunner

from fluxfarm import keys, tenants
from fluxfarm.catalog import Model
from fluxfarm.cli.main import main
from fluxfarm.cli.migrate import alembic_config
from fluxfarm.database import Database
from fluxfarm.local.backups import TABLES
from fluxfarm.local.postgres import PrivatePostgres
from tests.farm import create

QUICK = {"fsync": "off"}


def with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def rows(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        return {name: connection.execute(f"SELECT x::text FROM {name} x ORDER BY 1").fetchall() for name in TABLES}


def draw_something(url: str, model: Model) -> str:
    """A prediction of a new tenant; the tenant's key."""
    database = Database(with_driver(url))
    with database.session_scope() as session:
        tenants.ensure(session, "studio", by="test")
        key = keys.issue(session, tenant="studio", settings={}, by="test").key
        caller = keys.authenticate(session, key)
    create(database, caller, model)
    database.close()
    return key


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def fluxfarm(data: Path) -> Callable[..., str]:
    """Run a command on the data directory; what it said."""

    def run(*words: object, fails: bool = False) -> str:
        done = CliRunner().invoke(main, list(map(str, words)), env={"FLUXFARM_DATA_DIR": str(data)})
        assert (done.exit_code == 1) == fails, done.output
        return done.output

    return run


@pytest.fixture
def key(data: Path, flux_dev: Model) -> str:
    """A stopped farm with a prediction."""
    with PrivatePostgres(data, tuning=QUICK) as server:
        command.upgrade(alembic_config(with_driver(server.url)), "head")
        return draw_something(server.url, flux_dev)


def test_what_was_backed_up_comes_back_into_a_new_cluster(
    data: Path, fluxfarm: Callable[..., str], key: str, tmp_path: Path, flux_dev: Model
) -> None:
    file = tmp_path / "farm.backup"
    with PrivatePostgres(data, tuning=QUICK) as server:
        before = rows(server.url)
    assert "wrote" in fluxfarm("backup", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shutil.rmtree(data / "postgres")
    said = fluxfarm("restore", file)
    assert "restored 1 tenant and 1 prediction" in said
    assert "not restored: pictures" in said
    with PrivatePostgres(data, tuning=QUICK) as server:
        assert rows(server.url) == before
        with psycopg.connect(server.url) as connection:
            counted = connection.execute("SELECT reltuples FROM pg_class WHERE relname = 'predictions'").fetchone()
        assert counted == (1,)
        database = Database(with_driver(server.url))
        with database.session_scope() as session:
            caller = keys.authenticate(session, key)
        create(database, caller, flux_dev)
        database.close()


def test_rows_are_only_replaced_when_told_so(fluxfarm: Callable[..., str], key: str, tmp_path: Path) -> None:
    file = tmp_path / "farm.backup"
    fluxfarm("backup", file)
    said = fluxfarm("restore", file, fails=True)
    assert "the database holds 1 tenant and 1 prediction; add --force" in said
    assert "restored 1 tenant" in fluxfarm("restore", "--force", file)
    assert "is there already" in fluxfarm("backup", file, fails=True)


def test_a_damaged_or_foreign_file_changes_nothing(
    data: Path, fluxfarm: Callable[..., str], key: str, tmp_path: Path
) -> None:
    whole, cut, foreign = tmp_path / "whole", tmp_path / "cut", tmp_path / "foreign"
    fluxfarm("backup", whole)
    cut.write_bytes(whole.read_bytes()[:-40])
    foreign.write_text("hello")
    with PrivatePostgres(data, tuning=QUICK) as server:
        before = rows(server.url)
    assert "nothing was changed" in fluxfarm("restore", "--force", cut, fails=True)
    assert "is no backup that `fluxfarm backup` made" in fluxfarm("restore", "--force", foreign, fails=True)
    with PrivatePostgres(data, tuning=QUICK) as server:
        assert rows(server.url) == before


def test_a_running_farm_is_left_alone_unless_told_otherwise(
    fluxfarm: Callable[..., str], data: Path, key: str, tmp_path: Path, flux_dev: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database is given by URL here, which is the same to both commands."""
    file = tmp_path / "farm.backup"
    with PrivatePostgres(data, tuning=QUICK) as server:
        monkeypatch.setenv("FLUXFARM_DATABASE_URL", server.url)
        fluxfarm("backup", file)
        before = rows(server.url)
        draw = Database(with_driver(server.url), application="fluxfarm api")
        with draw.session_scope() as session:
            create(draw, keys.authenticate(session, key), flux_dev)
        assert "a farm runs on the database; stop it first" in fluxfarm("restore", file, fails=True)
        with draw.session_scope() as session:
            keys.authenticate(session, key)
        fluxfarm("restore", "--force", file)
        assert rows(server.url) == before
        with draw.session_scope() as session:
            keys.authenticate(session, key)
        draw.close()


def test_an_older_releases_backup_is_brought_up_to_date_and_a_later_ones_refused(
    data: Path, fluxfarm: Callable[..., str], key: str, tmp_path: Path
) -> None:
    old, late = tmp_path / "old", tmp_path / "late"
    with PrivatePostgres(data, tuning=QUICK) as server:
        command.downgrade(alembic_config(with_driver(server.url)), "0001")
    fluxfarm("backup", old)
    with PrivatePostgres(data, tuning=QUICK) as server:
        command.upgrade(alembic_config(with_driver(server.url)), "head")
    assert "`fluxfarm migrate` brings it up to date" in fluxfarm("restore", "--force", old)
    with PrivatePostgres(data, tuning=QUICK) as server:
        command.upgrade(alembic_config(with_driver(server.url)), "head")
        with psycopg.connect(server.url) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
    fluxfarm("backup", late)
    assert "belongs to a later release" in fluxfarm("restore", "--force", old, fails=True)
    assert "comes from a later release" in fluxfarm("restore", "--force", late, fails=True)


def test_says_that_there_is_nothing_to_back_up(fluxfarm: Callable[..., str], tmp_path: Path) -> None:
    assert "there is no database in" in fluxfarm("backup", tmp_path / "file", fails=True)
    assert "there is no directory" in fluxfarm("backup", tmp_path / "none" / "file", fails=True)
