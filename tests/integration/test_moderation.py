"""The log of what was checked: read by a command, added to and nothing else, and forgotten in time."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from fluxfarm import moderation
from fluxfarm.catalog import load_catalog
from fluxfarm.cli.main import main
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.moderation import Checked, Decision, Subject
from fluxfarm.outcomes import Safety
from fluxfarm.queue import TokenQueue
from fluxfarm.settings import Settings
from fluxfarm.storage import open_store
from worker.maintenance import Maintenance

PASSED = Decision(Checked.OUTPUT, "0", Safety.PASSED, withheld=False, checker="eye@1", label="nsfw", score=0.1)
FLAGGED = Decision(Checked.INPUT, "image", Safety.FLAGGED, withheld=True, checker="eye@1", label="nsfw", score=0.9)
PREDICTION = uuid.uuid4()

Command = Callable[..., Any]


@pytest.fixture
def subject(database: Database, new_caller: Callable[..., Caller]) -> Subject:
    """Of the tenant `studio`, of whom two decisions are in the log, beside one of somebody else."""
    for tenant, decisions in (("other", [PASSED]), ("studio", [PASSED, FLAGGED])):
        caller = new_caller(tenant)
        subject = Subject(caller.tenant_id, caller.key_id, "flux-dev", "r", "enforced", "model", PREDICTION, 1)
        with database.session_scope() as session:
            moderation.record(session, subject, decisions)
    return subject


@pytest.fixture
def command(settings: Settings, tmp_path: Path) -> Command:
    told = {"FLUXFARM_DATABASE_URL": str(settings.database_url), "FLUXFARM_DATA_DIR": str(tmp_path)}

    def run(*words: str) -> Any:
        result = CliRunner(env=told).invoke(main, ["moderation", *words])
        assert result.exit_code == 0, result.output
        return json.loads(result.output) if "--json" in words else result.output

    return run


def test_it_is_read_newest_first_by_what_is_asked_for(command: Command, subject: Subject) -> None:
    first, second, third = command("--json")
    assert [each["tenant"] for each in (first, second, third)] == ["studio", "studio", "other"]
    assert (first["verdict"], first["stage"], first["what"], first["score"]) == ("flagged", "input", "image", 0.9)
    assert (first["policy"], first["set_by"]) == ("enforced", "model")
    assert first["prediction_id"] == str(PREDICTION)
    assert command("--json", "--verdict", "flagged") == command("--json", "--stage", "input") == [first]
    assert command("--json", "--tenant", "studio") == command("--json", "--key", subject.key_id) == [first, second]
    assert len(command("--json", "--prediction", str(PREDICTION), "--limit", "2")) == 2
    assert command("--json", "--tenant", "nobody") == []
    assert "flagged" in command("--verdict", "flagged")


def test_it_is_counted(command: Command, subject: Subject) -> None:
    counted = {(each["stage"], each["verdict"]): each["number"] for each in command("--counts", "1", "--json")}
    assert counted == {("input", "flagged"): 1, ("output", "passed"): 2}
    (passed, flagged) = ("output", "passed", 1), ("input", "flagged", 1)
    for words, wanted in (
        (("--tenant", "studio"), {flagged, passed}),
        (("--key", subject.key_id), {flagged, passed}),
        (("--tenant", "other"), {passed}),
        (("--tenant", "studio", "--stage", "input"), {flagged}),
        (("--verdict", "skipped"), set()),
    ):
        told = command("--counts", "1", *words, "--json")
        assert {(each["stage"], each["verdict"], each["number"]) for each in told} == wanted, words


@pytest.mark.parametrize("statement", [b"UPDATE moderation SET withheld = false", b"DELETE FROM moderation"])
def test_it_can_be_added_to_and_nothing_else(subject: Subject, settings: Settings, statement: bytes) -> None:
    with psycopg.connect(str(settings.database_url), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(statement)
        assert connection.execute("SELECT count(*) FROM moderation").fetchone() == (3,)


@pytest.mark.usefixtures("clean_redis")
def test_it_is_forgotten_after_its_own_time(subject: Subject, database: Database, settings: Settings) -> None:
    fields = "tenant_id, key_id, model, stage, what, verdict, withheld, policy, set_by"
    old = text(f"""
        INSERT INTO moderation (at, request_id, {fields})
        SELECT now() - interval '181 days', 'old', {fields} FROM moderation
    """)
    with database.session_scope() as session:
        session.execute(old)
    store, catalog = open_store(settings), load_catalog(settings)
    Maintenance(database=database, tokens=TokenQueue(settings), store=store, catalog=catalog, settings=settings).round()
    with database.session_scope() as session:
        left = moderation.recent(session, {}, limit=10)
    assert [each.request_id for each in left] == ["r"] * 3
