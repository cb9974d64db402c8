"""When a job counts as stuck: past the limit of a stage that some thread is in, and never while it waits for one."""

import dataclasses
import io
import uuid
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fluxfarm.catalog import Model
from fluxfarm.errors import PredictionFailed, WorkerFault
from fluxfarm.lifecycle import Claimed
from fluxfarm.plans import Plan
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from fluxfarm.storage import LocalStore
from tests.processes import wait_until
from worker import run
from worker.finisher import End
from worker.job import Job, StageLimits, Stopped, StopReason
from worker.pipelines import Rendered, RenderOrder
from worker.prepare import Preparer, Ready
from worker.watchdog import Watchdog

PLAN = Plan(
    prompt="a red circle",
    seeds=(1,),
    width=None,
    height=None,
    megapixels="1",
    num_inference_steps=4,
    guidance=3.5,
    prompt_strength=0.8,
    output_format="webp",
    output_quality=80,
    check_safety=True,
    picture_keys={"image": "tenants/x/files/x.png"},
)
NO_TIME, MUCH_TIME = 0.0, 1000.0

NewJob = Callable[..., Job]


@pytest.fixture
def new_job() -> NewJob:
    def make(*, fetch: float = MUCH_TIME, store: float = MUCH_TIME, must_hand_back: bool = False) -> Job:
        claimed = Claimed(
            id=uuid.uuid4(),
            tenant_id=uuid.uuid4(),
            key_id="key",
            model="flux-dev",
            version="1",
            attempt=1,
            claim_id=uuid.uuid4(),
            cancel_requested=False,
            request_id="test",
            traceparent=None,
            plan=PLAN,
        )
        limits = StageLimits(fetch=fetch, device=MUCH_TIME, store=store)
        return Job(claimed, limits, Watchdog(), must_hand_back=lambda: must_hand_back)

    return make


def test_a_claimed_job_that_nobody_takes_up_is_stuck(new_job: NewJob) -> None:
    wait_until(lambda: new_job(fetch=NO_TIME).stuck_seconds)
    assert new_job().stuck_seconds == 0


def test_a_job_on_the_device_is_not_stuck_and_its_time_there_is_counted(new_job: NewJob) -> None:
    job = new_job(fetch=NO_TIME)
    with job.on_device():
        assert job.stuck_seconds == 0
        job.stage(Stage.STEP)
        with job.off_device():
            before = job.device_seconds
            assert job.stuck_seconds == 0
        assert before > 0
    assert job.device_seconds > before
    assert job.stuck_seconds == 0


def test_a_stage_of_the_finisher_has_a_limit_of_its_own(new_job: NewJob) -> None:
    job = new_job(store=NO_TIME)
    with job.on_device():
        job.afterwards(Stage.STORE)
        wait_until(lambda: job.stuck_seconds)
        job.step(0, 1, 4)
        assert job.stuck_seconds, "that the device advances says nothing of the finisher"
    job.afterwards(None)
    assert job.stuck_seconds == 0


def test_a_prepared_job_may_wait_for_the_device(new_job: NewJob, store: LocalStore, flux_dev: Model) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    store.put(PLAN.picture_keys["image"], picture.getvalue(), "image/png")
    preparer = Preparer({flux_dev.slug: flux_dev}, store, Settings())
    job = new_job(fetch=NO_TIME)
    preparer.submit(job)
    ready = wait_until(lambda: preparer.take(0.1))
    assert ready.failure is None
    assert not preparer.busy
    assert job.stuck_seconds == 0


def test_each_picture_has_the_time_of_a_fetch(
    new_job: NewJob, store: LocalStore, flux_dev: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    keys = {name: f"tenants/x/files/{name}.png" for name in ("image", "mask")}
    for key in keys.values():
        store.put(key, picture.getvalue(), "image/png")
    job = new_job()
    job.claimed = dataclasses.replace(job.claimed, plan=dataclasses.replace(PLAN, picture_keys=keys))
    heard: list[Stage] = []
    monkeypatch.setattr(Job, "stage", lambda _, stage: heard.append(stage))
    preparer = Preparer({flux_dev.slug: flux_dev}, store, Settings())
    preparer.submit(job)
    wait_until(lambda: preparer.take(0.1))
    assert heard == [Stage.FETCH, Stage.FETCH, Stage.CHECK]


@pytest.mark.parametrize("field", ["image", "mask", "control_image", "redux_image"])
def test_what_cannot_be_fetched_is_named_by_its_field(
    new_job: NewJob, store: LocalStore, flux_dev: Model, field: str
) -> None:
    job = new_job()
    plan = dataclasses.replace(PLAN, picture_keys={}, picture_urls={field: "http://127.0.0.1/secret.png"})
    job.claimed = dataclasses.replace(job.claimed, plan=plan)
    preparer = Preparer({flux_dev.slug: flux_dev}, store, Settings())
    preparer.submit(job)
    ready = wait_until(lambda: preparer.take(0.1))
    assert isinstance(ready.failure, PredictionFailed)
    assert ready.failure.reason == "input_forbidden"
    assert ready.failure.message == f"{field}: its URL leads to an address that is not public"


def test_a_job_is_stopped_at_its_next_step(new_job: NewJob) -> None:
    job = new_job()
    job.stop = StopReason.CANCELLED
    with pytest.raises(Stopped):
        job.step(0, 1, 4)
    handed = new_job(must_hand_back=True)
    with pytest.raises(Stopped):
        handed.check()
    assert handed.stop is StopReason.HANDED_BACK


class Leaving:
    """Hands out a picture, and fails when it is to put away what it drew with."""

    def prompt_notice(self, _prompt: str) -> str | None:
        return None

    def render(self, order: RenderOrder, _watch: Job) -> Generator[Rendered, None, None]:
        try:
            yield Rendered(0, 1, np.zeros((order.height, order.width, 3), np.uint8), 0.1)
        finally:
            raise WorkerFault("the device is lost")


class Cancelling:
    """Has no room for a picture until its owner has cancelled it."""

    def require_checks(self, _job: Job) -> None:
        pass

    def picture(self, job: Job, _rendered: Rendered) -> None:
        job.stop = StopReason.CANCELLED
        job.check()

    def end(self, _job: Job, _end: object) -> None:
        pass


def test_what_fails_as_a_stopped_render_is_put_away_is_the_workers_own_fault(new_job: NewJob) -> None:
    pipeline: Any = Leaving()
    finisher: Any = Cancelling()
    job = new_job()
    job.claimed = dataclasses.replace(job.claimed, plan=dataclasses.replace(PLAN, check_safety=False))
    assert run.render(Ready(job, RenderOrder("", (1,), 16, 16, 1, 3.5)), pipeline, finisher) is End.FAULT


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("objects"))
