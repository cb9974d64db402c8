"""Two machines prove that they have one store, or the one that wants to join is told what to do."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from fluxfarm import store_probes
from fluxfarm.database import Database
from fluxfarm.errors import SettingsError
from fluxfarm.local import store_proof
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.store_proof import prove_store
from fluxfarm.settings import Settings
from fluxfarm.storage import LocalStore
from worker.joining import answer_store_probes


@pytest.fixture
def database(shared_database: Database, postgres: PrivatePostgres) -> Database:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("TRUNCATE store_probes")
    return shared_database


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_proof, "PATIENCE", 0.5)


@contextmanager
def repeated(step: Callable[[], None]) -> Iterator[None]:
    """As the maintenance process would, round after round, while the block runs."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.02):
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def refusal(settings: Settings, database: Database, here: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        prove_store(replace(settings, store_dir=here), database, "/srv/pictures", "main")
    return refused.value.message


def test_one_store_is_proven_and_nothing_is_left(database: Database, settings: Settings, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with repeated(lambda: answer_store_probes(database, store)):
        prove_store(replace(settings, store_dir=tmp_path), database, str(tmp_path), "main")
    with database.session_scope() as session:
        session.execute(text("UPDATE store_probes SET asked_at = asked_at - interval '2 min'"))
    answer_store_probes(database, store)
    assert list(store.keys("")) == []
    with database.session_scope() as session:
        assert session.execute(text("SELECT count(*) FROM store_probes")).scalar_one() == 0


@pytest.mark.usefixtures("impatient")
def test_another_place_is_told_from_the_same(database: Database, settings: Settings, tmp_path: Path) -> None:
    here, store = tmp_path / "here", LocalStore(tmp_path / "there")
    with repeated(lambda: answer_store_probes(database, store)):
        said = refusal(settings, database, here)
    assert said.startswith(f"the farm does not find what this machine writes to {here}; mount the directory /srv/pict")
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("impatient")
def test_what_the_farm_cannot_read_counts_as_little(database: Database, settings: Settings, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with repeated(lambda: answer_store_probes(database, LocalStore(loop))):
        said = refusal(settings, database, tmp_path / "here")
    assert "the farm cannot read what this machine writes" in said
    assert "Too many levels of symbolic links" in said


def test_what_the_farm_writes_must_be_found_in_turn(database: Database, settings: Settings, tmp_path: Path) -> None:
    def answer_without_writing() -> None:
        with database.session_scope() as session:
            for probe in store_probes.open_probes(session):
                store_probes.note(session, probe.id, store_probes.READ)

    with repeated(answer_without_writing):
        assert "this machine cannot read what the farm writes" in refusal(settings, database, tmp_path)


@pytest.mark.usefixtures("impatient")
def test_says_that_nobody_looked(database: Database, settings: Settings, tmp_path: Path) -> None:
    said = refusal(settings, database, tmp_path)
    assert "is the maintenance process on main running?" in said


def test_a_store_that_cannot_be_written_is_named(database: Database, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"cannot write to {tmp_path / 'file'}" in refusal(settings, database, tmp_path / "file")
