"""A part that is away costs time, never a prediction and never an attempt."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.storage import LocalStore
from tests.crash.conftest import Farm
from tests.farm import tokens_waiting
from tests.processes import Proxy, wait_until
from tests.servers import rclone_s3


class OwnStore:
    """A store in a directory of its own that can be taken away at once: it is reached through a link."""

    def __init__(self, directory: Path) -> None:
        self.settings = {"data_dir": str(directory)}
        self._link, self._real = directory / "objects", directory / "real"
        self._real.mkdir()
        self.bring_back()

    def take_away(self) -> None:
        self._point_to(self._link)

    def bring_back(self) -> None:
        self._point_to(self._real)

    @property
    def behind(self) -> LocalStore:
        """The store, also while it is away."""
        return LocalStore(self._real)

    def _point_to(self, target: Path) -> None:
        draft = self._link.with_name("draft")
        draft.symlink_to(target)
        draft.replace(self._link)


@pytest.fixture
def own_store(tmp_path: Path) -> OwnStore:
    return OwnStore(tmp_path)


@pytest.fixture
def proxy(farm: Farm) -> Iterator[Proxy]:
    with Proxy(make_url(farm.settings.require_database_url()).port or 0) as proxy:
        yield proxy


def through(farm: Farm, proxy: Proxy) -> str:
    url = make_url(farm.settings.require_database_url()).set(drivername="postgresql", port=proxy.port)
    return url.render_as_string(hide_password=False)


def wait_for_a_lease_time(farm: Farm, prediction: uuid.UUID) -> None:
    """Until the lease it had has been renewed beyond its end."""
    first = farm.lease_expiry(prediction)
    assert first
    wait_until(lambda: farm.lease_expiry(prediction) > first + farm.settings.lease_seconds)


def test_rendering_goes_on_while_redis_hangs(farm: Farm, tmp_path: Path) -> None:
    slug = farm.new_model()
    with PrivateValkey(tmp_path / "valkey") as valkey:
        worker = farm.ready_worker(slug, redis_url=valkey.url)
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            farm.wait_for(farm.create(slug, "fast"), "succeeded")
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
    farm.wait_for(farm.create(slug, "fast"), "succeeded")
    worker.signal(signal.SIGTERM)
    assert worker.ended(10) == 0


def test_a_worker_starts_renders_and_stops_without_redis(farm: Farm) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, redis_url="redis://127.0.0.1:1/0")
    farm.wait_for(farm.create(slug, "fast"), "succeeded")
    worker.signal(signal.SIGTERM)
    assert worker.ended(10) == 0


def test_what_is_rendered_waits_for_the_store(farm: Farm, own_store: OwnStore) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, **own_store.settings, step_limit_seconds="0.3")
    own_store.take_away()
    predictions = [farm.create(slug, f"fast stored-late-{n}", num_outputs=4) for n in range(3)]
    worker.wait_for("part is away")
    # More than the finisher's queue holds, and for longer than a lease and the watchdog's patience.
    wait_for_a_lease_time(farm, predictions[0])
    own_store.bring_back()
    for n, prediction in enumerate(predictions):
        row = farm.wait_for(prediction, "succeeded")
        assert (row.attempt, row.lost) == (1, 0)
        assert farm.events(f"stored-late-{n}").count("begin") == 1
        assert len(farm.outputs(prediction)) == 4
    assert worker.said("part is back")
    assert len(list(own_store.behind.keys(""))) == 12
    worker.end()


def test_a_store_that_stays_away_gets_predictions_handed_back_and_none_claimed(farm: Farm, own_store: OwnStore) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, **own_store.settings, store_limit_seconds="0.5")
    own_store.take_away()
    first, second = (farm.create(slug, f"fast waits-{n}", num_outputs=2) for n in range(2))
    worker.wait_for("prediction handed back")
    wait_until(lambda: {farm.row(each).status for each in (first, second)} == {"queued"})
    begun = len(farm.events("waits-0")) + len(farm.events("waits-1"))
    third = farm.create(slug, "fast third")
    farm.tokens.put(slug)
    wait_until(lambda: tokens_waiting(farm.settings, slug) == 0)
    assert farm.row(third).attempt == 0
    assert len(farm.events("waits-0")) + len(farm.events("waits-1")) == begun
    own_store.bring_back()
    for prediction in (first, second, third):
        assert farm.wait_for(prediction, "succeeded").lost == 0
    worker.end()


def test_a_picture_sent_as_data_waits_for_the_store_too(farm: Farm, own_store: OwnStore) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, **own_store.settings)
    own_store.take_away()
    prediction = farm.create_with_picture(slug, "fast", own_store.behind)
    wait_until(lambda: farm.row(prediction).attempt >= 2, what=worker.log.read_text)
    own_store.bring_back()
    assert farm.wait_for(prediction, "succeeded").lost == 0
    worker.end()


def test_a_worker_whose_store_hangs_is_ended(farm: Farm, tmp_path: Path) -> None:
    slug = farm.new_model()
    with rclone_s3(tmp_path) as server, Proxy(int(server.endpoint.rpartition(":")[2])) as proxy:
        given = {name.removeprefix("FLUXFARM_").lower(): value for name, value in server.environment().items()}
        given["s3_endpoint_url"] = f"http://127.0.0.1:{proxy.port}"
        worker = farm.ready_worker(slug, **given, store_limit_seconds="0.2")
        proxy.freeze()
        prediction = farm.create(slug, "fast")
        assert worker.ended() == os.EX_SOFTWARE
        assert worker.said("most recent call first")
        wait_until(lambda: farm.row(prediction).lost == 1)
    farm.cancel(prediction)


def test_what_is_stored_waits_for_the_database(farm: Farm, proxy: Proxy) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, database_url=through(farm, proxy), lease_seconds="30")
    prediction = farm.create(slug, "slow cut-off")
    farm.wait_for_event("cut-off", "picture 0")
    proxy.cut()
    farm.open_gate("cut-off")
    wait_until(lambda: farm.stored(prediction))
    worker.wait_for("the database is away")
    proxy.mend()
    row = farm.wait_for(prediction, "succeeded")
    assert (row.attempt, row.lost) == (1, 0)
    farm.assert_ended_once(prediction)
    worker.end()


def test_a_commit_whose_answer_was_lost_keeps_its_pictures(farm: Farm, proxy: Proxy) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, database_url=through(farm, proxy))
    proxy.lose_answer_to_commit_after(b"INSERT INTO prediction_results")
    prediction = farm.create(slug, "fast", num_outputs=2)
    row = farm.wait_for(prediction, "succeeded")
    worker.wait_for("lease lost")
    # The next prediction is finished after whatever was done about that.
    farm.wait_for(farm.create(slug, "fast"), "succeeded")
    assert row.attempt == 1
    farm.assert_ended_once(prediction, pictures=2)
    worker.end()


def test_a_worker_stops_in_time_without_the_database(farm: Farm, proxy: Proxy) -> None:
    slug = farm.new_model()
    worker = farm.ready_worker(slug, database_url=through(farm, proxy), lease_seconds="30")
    prediction = farm.create(slug, "slow deserted")
    farm.wait_for_event("deserted", "picture 0")
    proxy.cut()
    farm.open_gate("deserted")
    wait_until(lambda: farm.stored(prediction))
    worker.signal(signal.SIGTERM)
    assert worker.ended(farm.settings.stop_seconds + 10) == 0
    assert worker.said("left to the maintenance loop")
    farm.expire_lease(prediction)
    wait_until(lambda: farm.row(prediction).lost == 1)
    farm.cancel(prediction)


def test_a_worker_waits_for_a_database_that_is_away_when_it_starts(farm: Farm, proxy: Proxy) -> None:
    slug = farm.new_model()
    proxy.cut()
    worker = farm.processes.worker(slug, database_url=through(farm, proxy))
    worker.wait_for("part is away")
    proxy.mend()
    worker.wait_for("worker ready")
    worker.end()
