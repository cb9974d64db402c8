"""The only way back for what was lost: rounds of the maintenance loop over the real servers."""

import dataclasses
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from fluxfarm import lifecycle, lookup, sent_pictures, sweeps, upkeep
from fluxfarm.catalog import Catalog, Model, load_catalog
from fluxfarm.database import Database
from fluxfarm.errors import Unavailable
from fluxfarm.keys import Caller
from fluxfarm.kinds import Kind
from fluxfarm.lifecycle import Claimed
from fluxfarm.outcomes import Progress
from fluxfarm.queue import TokenQueue
from fluxfarm.settings import Settings
from fluxfarm.storage import LocalStore, input_key, object_key
from fluxfarm.upkeep import WorkerIdentity
from tests.farm import create, tokens_waiting
from tests.integration.test_lifecycle import output
from tests.processes import Proxy, wait_until
from worker.maintenance import Maintenance, Stopping, loop

Make = Callable[..., Maintenance]
EXPIRED = "UPDATE predictions SET expires_at = clock_timestamp(), created_at = created_at - interval '1 h'"

pytestmark = pytest.mark.usefixtures("clean_redis")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects")


@pytest.fixture
def maintenance(database: Database, settings: Settings, store: LocalStore, flux_dev: Model) -> Make:
    """Make one whose leases are short, so that it soon takes back what ran out."""

    def make(database: Database = database, **changes: Any) -> Maintenance:
        return Maintenance(
            database=database,
            tokens=TokenQueue(settings),
            store=store,
            catalog=Catalog({flux_dev.slug: flux_dev}),
            settings=dataclasses.replace(settings, **{"lease_seconds": 0.2, **changes}),
        )

    return make


@pytest.fixture
def proxy(settings: Settings) -> Iterator[Proxy]:
    with Proxy(make_url(settings.require_database_url()).port or 0) as proxy:
        yield proxy


def claim(database: Database, model: Model, lease_seconds: float = 60) -> Claimed:
    with database.session_scope() as session:
        found = lifecycle.claim(
            session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds=lease_seconds
        )
    assert found
    return found


def row(database: Database, prediction: uuid.UUID) -> Any:
    with database.session_scope() as session:
        return session.execute(
            text("SELECT p.*, r.error_code FROM predictions p LEFT JOIN prediction_results r"
                 " ON r.prediction_id = p.id WHERE p.id = :id"), {"id": prediction}
        ).one_or_none()  # fmt: skip


def change(database: Database, statement: str, **parameters: Any) -> None:
    with database.session_scope() as session:
        session.execute(text(statement), parameters)


def rate(database: Database) -> float:
    with database.session_scope() as session:
        measured: float = session.execute(text("SELECT pixel_step_microseconds FROM model_queues")).scalar_one()
    return measured


def sweep_until(maintenance: Maintenance, check: Callable[[], Any]) -> None:
    def swept() -> Any:
        maintenance.round()
        return check()

    wait_until(swept)


def live_worker(database: Database, model: Model) -> WorkerIdentity:
    worker = WorkerIdentity(uuid.uuid4(), model.slug, model.version, "host", 1, "none")
    with database.session_scope() as session:
        upkeep.sign_of_life(session, worker)
    return worker


def test_a_lease_that_ran_out_goes_back_and_one_that_did_not_stays(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    lost, kept = create(database, caller, flux_dev), create(database, caller, flux_dev)
    assert claim(database, flux_dev, lease_seconds=1e-6).id == lost
    claim(database, flux_dev)
    sweep_until(maintenance(), lambda: row(database, lost).lost)
    assert (row(database, lost).status, row(database, lost).lost) == ("queued", 1)
    assert (row(database, kept).status, row(database, kept).lost) == ("processing", 0)


def test_a_picture_whose_create_died_goes_and_one_whose_prediction_is_there_stays(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make, store: LocalStore
) -> None:
    there = create(database, caller, flux_dev)
    kept, orphaned, young = (input_key(caller.tenant_id, name, "png") for name in ("kept", "orphaned", "young"))
    for key, prediction in ((kept, there), (orphaned, uuid.uuid4()), (young, uuid.uuid4())):
        with database.session_scope() as session:
            sent_pictures.note(session, key, prediction)
        store.put(key, b"picture", "image/png")
    change(
        database,
        "UPDATE sent_pictures SET noted_at = noted_at - :age * interval '1 s' WHERE object_key <> :young",
        age=sent_pictures.GRACE_SECONDS,
        young=young,
    )
    change(
        database,
        "UPDATE prediction_inputs SET plan = jsonb_set(plan, '{picture_keys,image}', to_jsonb(cast(:key AS text)))",
        key=kept,
    )
    maintenance().round()
    assert set(store.keys("tenants/")) == {kept, young}
    with database.session_scope() as session:
        assert session.scalars(text("SELECT object_key FROM sent_pictures")).all() == [young]


def test_what_waited_too_long_and_what_nobody_serves_fails(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    late, withdrawn, fine = (create(database, caller, flux_dev) for _ in range(3))
    change(database, "UPDATE predictions SET created_at = created_at - interval '2 h' WHERE id = :id", id=late)
    change(database, "UPDATE predictions SET model = 'gone' WHERE id = :id", id=withdrawn)
    maintenance(max_queue_seconds=3600).round()
    assert (row(database, late).status, row(database, late).error_code) == ("failed", "queue_timeout")
    assert (row(database, withdrawn).status, row(database, withdrawn).error_code) == ("failed", "model_withdrawn")
    assert row(database, fine).status == "queued"
    with database.session_scope() as session:
        assert lookup.slot_drift(session) == []


def test_more_than_a_batch_is_ended_in_one_round(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "BATCH", 3)
    late = [create(database, caller, flux_dev) for _ in range(7)]
    change(database, "UPDATE predictions SET created_at = created_at - interval '2 h'")
    maintenance(max_queue_seconds=3600).round()
    assert {row(database, each).status for each in late} == {"failed"}


def test_tokens_are_topped_up_to_what_live_workers_can_take(
    database: Database, settings: Settings, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    sweeper = maintenance()
    for _ in range(3):
        create(database, caller, flux_dev)
    sweeper.round()
    assert tokens_waiting(settings, flux_dev.slug) == 0, "nobody would take them"
    live_worker(database, flux_dev)
    gone = live_worker(database, flux_dev)
    sweeper.round()
    sweeper.round()
    assert tokens_waiting(settings, flux_dev.slug) == 2
    with database.session_scope() as session:
        upkeep.sign_off(session, gone.id)
    for _ in range(3):
        live_worker(database, flux_dev)
    sweeper.round()
    assert tokens_waiting(settings, flux_dev.slug) == 3


def test_an_outage_of_the_database_costs_no_attempt(
    database: Database, settings: Settings, caller: Caller, flux_dev: Model, maintenance: Make, proxy: Proxy
) -> None:
    url = make_url(settings.require_database_url()).set(port=proxy.port).render_as_string(hide_password=False)
    through = Database(url, pool_size=1)
    sweeper = maintenance(database=through, lease_seconds=0.5)
    swept = create(database, caller, flux_dev)
    claim(database, flux_dev, lease_seconds=0.01)
    sweep_until(sweeper, lambda: row(database, swept).lost)
    proxy.cut()
    with pytest.raises(Unavailable):
        sweeper.round()
    with database.session_scope() as session:
        lifecycle.cancel(session, swept, caller.tenant_id)
    # Its worker could not renew it meanwhile.
    survivor = create(database, caller, flux_dev)
    held = claim(database, flux_dev, lease_seconds=0.01)
    proxy.mend()
    sweeper.round()
    assert row(database, survivor).lost == 0
    with database.session_scope() as session:
        lifecycle.renew(session, held, Progress(), 0.2)
    sweep_until(sweeper, lambda: row(database, survivor).lost)
    through.close()


def test_retention_deletes_the_row_and_every_object_of_it(
    database: Database, store: LocalStore, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    expired, kept = create(database, caller, flux_dev), create(database, caller, flux_dev)
    input_key = f"tenants/{caller.tenant_id}/files/{uuid.uuid4()}.png"
    store.put(input_key, b"x", "image/png")
    change(
        database,
        "UPDATE prediction_inputs SET plan = jsonb_set(plan, '{picture_keys,image}', to_jsonb(cast(:key AS text)))"
        " WHERE prediction_id = :id",
        id=expired,
        key=input_key,
    )
    first = claim(database, flux_dev)
    store.put(object_key(caller.tenant_id, first.id, 1, first.claim_id, 0, "webp"), b"lost attempt", "image/webp")
    with database.session_scope() as session:
        lifecycle.hand_back(session, first)
    keys = {}
    for _ in range(2):
        held = claim(database, flux_dev)
        key = keys[held.id] = object_key(caller.tenant_id, held.id, held.attempt, held.claim_id, 0, "webp")
        store.put(key, b"x", "image/webp")
        with database.session_scope() as session:
            made = dataclasses.replace(output(), object_key=key)
            lifecycle.complete(session, held, [made], device_microseconds=1)
    change(database, EXPIRED + " WHERE id = :id", id=expired)
    with database.session_scope() as session:
        tag = session.execute(text("SELECT start_tag FROM predictions WHERE id = :id"), {"id": expired}).scalar_one()
    maintenance().round()
    assert row(database, expired) is None
    assert row(database, kept).status == "succeeded"
    assert set(store.keys("")) == {keys[kept]}
    with database.session_scope() as session:
        assert session.execute(text("SELECT virtual_floor FROM model_queues")).scalar_one() == tag


def test_a_store_that_is_away_keeps_rows_and_holds_up_nothing_else(
    database: Database, tmp_path: Path, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    expired = create(database, caller, flux_dev)
    with database.session_scope() as session:
        lifecycle.cancel(session, expired, caller.tenant_id)
    change(database, EXPIRED)
    link = tmp_path / "objects"
    link.symlink_to(link)
    sweeper, lost = maintenance(), create(database, caller, flux_dev)
    claim(database, flux_dev, lease_seconds=1e-6)
    sweep_until(sweeper, lambda: row(database, lost).lost)
    assert row(database, expired) is not None
    link.unlink()
    maintenance().round()
    assert row(database, expired) is None


def test_the_rate_of_a_model_is_measured(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    create(database, caller, flux_dev)
    held = claim(database, flux_dev)
    with database.session_scope() as session:
        lifecycle.complete(session, held, [output()], device_microseconds=1000)
    maintenance().round()
    assert rate(database) == pytest.approx(1000 / (16 * 16 + flux_dev.word_pixels))


def test_steps_that_were_done_twice_and_pictures_that_were_changed_measure_the_same_rate(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    create(database, caller, flux_dev, negative_prompt="a cat", true_cfg_scale=2)
    held = claim(database, flux_dev)
    with database.session_scope() as session:
        lifecycle.complete(session, held, [output()], device_microseconds=1000)
    maintenance().round()
    assert rate(database) == pytest.approx(1000 / 2 / (16 * 16 + flux_dev.word_pixels))
    with database.session_scope() as session:
        upkeep.measure(session, dataclasses.replace(flux_dev, kind=Kind.KONTEXT))
    assert rate(database) == pytest.approx(
        1000 / 2 / (16 * 16 + flux_dev.weights.native_side**2 + flux_dev.word_pixels)
    )


def test_a_picture_that_kept_its_area_measures_by_what_was_drawn(database: Database, caller: Caller) -> None:
    fill = load_catalog(Settings(models=("flux-fill-dev",))).model("flux-fill-dev")
    create(database, caller, fill, image="https://example.com/a.png", expand_left=64, megapixels="match_input")
    held = claim(database, fill)
    with database.session_scope() as session:
        lifecycle.complete(session, held, [output()], device_microseconds=1000)
        upkeep.measure(session, fill)
    assert rate(database) == pytest.approx(1000 / (16 * 16 + fill.word_pixels))


def test_pictures_that_took_no_steps_measure_nothing_and_stop_nothing(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    create(database, caller, flux_dev)
    held = claim(database, flux_dev)
    with database.session_scope() as session:
        untouched = dataclasses.replace(output(), steps=0)
        lifecycle.complete(session, held, [untouched], device_microseconds=1000)
    change(database, EXPIRED + " WHERE id = :id", id=held.id)
    maintenance().round()
    with database.session_scope() as session:
        assert session.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 0


def test_workers_without_a_sign_of_life_are_forgotten(database: Database, flux_dev: Model, maintenance: Make) -> None:
    alive, dead = live_worker(database, flux_dev), live_worker(database, flux_dev)
    change(database, "UPDATE workers SET seen_at = seen_at - interval '2 min' WHERE id = :id", id=dead.id)
    maintenance().round()
    with database.session_scope() as session:
        assert session.execute(text("SELECT id FROM workers")).scalars().all() == [alive.id]


def test_two_sweepers_at_once_do_no_harm(
    database: Database, caller: Caller, flux_dev: Model, maintenance: Make
) -> None:
    predictions = [create(database, caller, flux_dev) for _ in range(40)]
    for _ in predictions:
        claim(database, flux_dev, lease_seconds=1e-6)
    stopping = Stopping()
    sweepers = [
        threading.Thread(target=loop, args=(maintenance(),), kwargs={"pause_seconds": 0.001, "stopping": stopping})
        for _ in range(3)
    ]
    for sweeper in sweepers:
        sweeper.start()
    try:
        wait_until(lambda: all(row(database, each).status == "queued" for each in predictions))
    finally:
        stopping.asked = True
        for sweeper in sweepers:
            sweeper.join()
    assert {row(database, each).lost for each in predictions} == {1}
