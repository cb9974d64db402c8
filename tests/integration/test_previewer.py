"""Previews on their thread: made only where somebody follows, checked like pictures, and never waited for."""

import base64
import io
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fluxfarm.errors import WorkerFault
from fluxfarm.lifecycle import Claimed
from fluxfarm.plans import Plan
from fluxfarm.previews import Preview, Previews
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from tests.processes import wait_until
from worker.checking import Check, Finding, Judged
from worker.job import Job, StageLimits
from worker.pipelines import Pixels
from worker.previewer import LONGEST_SIDE, Previewer
from worker.watchdog import Watchdog

PLAN = Plan(
    prompt="a red circle",
    seeds=(1, 2),
    width=None,
    height=None,
    megapixels="1",
    num_inference_steps=4,
    guidance=3.5,
    prompt_strength=0.8,
    output_format="webp",
    output_quality=80,
    check_safety=True,
)
LIGHT, DARK = (np.full((6, 8, 3), level, np.uint8) for level in (200, 20))


class Noted(Previews):
    """Notes for whom it was asked whether somebody follows."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(redis_client(settings))
        self.asked: list[uuid.UUID] = []

    def wished(self, prediction: uuid.UUID) -> bool:
        found = super().wished(prediction)
        self.asked.append(prediction)
        return found


class BlocksDark:
    """A checker that also notes what it was asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[Pixels] = []

    def check(self, pixels: Pixels) -> Judged:
        self.asked.append(pixels)
        if self.error is not None:
            raise self.error
        blocked = bool(pixels.mean() < 100)
        return Judged((Finding("eye@1", "nsfw", 1.0, 0.5, blocked),), blocked)


NewJob = Callable[..., Job]


@pytest.fixture
def previews(settings: Settings) -> Iterator[Noted]:
    noted = Noted(settings)
    yield noted
    noted._client.close()


@pytest.fixture
def new_job(previews: Noted) -> NewJob:
    def make(check: Check | None = None, *, followed: bool = True, check_safety: bool = True) -> Job:
        claimed = Claimed(
            id=uuid.uuid4(),
            tenant_id=uuid.uuid4(),
            key_id="key",
            model="flux-dev",
            version="1",
            attempt=3,
            claim_id=uuid.uuid4(),
            cancel_requested=False,
            request_id="test",
            traceparent=None,
            plan=replace(PLAN, check_safety=check_safety),
        )
        if followed:
            previews.wish(claimed.id)
        limits = StageLimits(fetch=1000, device=1000, store=1000)
        previewer = Previewer(previews, check)
        job = Job(claimed, limits, Watchdog(), must_hand_back=lambda: False, previewer=previewer)
        job.stage(Stage.STEP)
        return job

    return make


def show(job: Job, pixels: Pixels, step: int = 1, *, picture: int = 0) -> None:
    """Make a step and offer its preview, as soon as one is wanted."""
    job.step(picture, step, 4)
    wait_until(job.wants_preview)
    drawn = threading.Event()

    def draw() -> Pixels:
        drawn.set()
        return pixels

    job.preview(draw)
    assert job.previewer is not None
    # Once another is wanted, this one was dealt with.
    wait_until(job.wants_preview)


def told(job: Job, previews: Previews) -> Preview | None:
    return previews.last(job.claimed.id)


def test_a_preview_is_a_small_file_that_knows_its_step(new_job: NewJob, previews: Noted) -> None:
    job = new_job()
    show(job, np.full((300, 600, 3), 77, np.uint8), step=2, picture=1)
    found = told(job, previews)
    assert found is not None
    assert (found.attempt, found.picture, found.step, found.steps) == (3, 2, 2, 4)
    data = base64.b64decode(found.data)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "WEBP"
        assert opened.size == (found.width, found.height) == (LONGEST_SIDE, LONGEST_SIDE // 2)
        assert "AI generated" in str(opened.getexif())
        assert abs(np.asarray(opened).mean() - 77) < 3
    assert len(data) < 4096


def test_none_is_made_where_nobody_follows(new_job: NewJob, previews: Noted) -> None:
    job = new_job(followed=False)
    assert not job.wants_preview()
    wait_until(lambda: previews.asked == [job.claimed.id])
    assert not job.wants_preview()
    previews.wish(job.claimed.id)
    wait_until(job.wants_preview)


def test_one_that_is_followed_says_nothing_of_the_next(new_job: NewJob, previews: Noted) -> None:
    job = new_job()
    wait_until(job.wants_preview)
    job.claimed = replace(job.claimed, id=uuid.uuid4())
    assert not job.wants_preview()
    wait_until(lambda: job.claimed.id in previews.asked)
    assert not job.wants_preview()


def test_the_next_is_wanted_when_the_last_is_told(new_job: NewJob) -> None:
    job, drawn = new_job(), threading.Event()

    def slowly() -> Pixels:
        drawn.wait()
        return LIGHT

    wait_until(job.wants_preview)
    job.step(0, 1, 4)
    job.preview(slowly)
    job.previewer._rest_until = 0.0
    assert not job.wants_preview()
    drawn.set()
    wait_until(job.wants_preview)


def test_what_the_checker_stops_is_not_told_nor_what_follows_it(new_job: NewJob, previews: Noted) -> None:
    checker = BlocksDark()
    job = new_job(checker.check)
    show(job, DARK)
    show(job, LIGHT, step=2)
    assert told(job, previews) is None
    show(job, LIGHT, picture=1)
    found = told(job, previews)
    assert found is not None
    assert found.picture == 2
    assert [pixels.mean() for pixels in checker.asked] == [20, 200]


def test_a_checker_that_fails_lets_nothing_through(new_job: NewJob, previews: Noted) -> None:
    checker = BlocksDark(WorkerFault("broken"))
    job = new_job(checker.check)
    show(job, LIGHT)
    assert told(job, previews) is None
    checker.error = None
    show(job, LIGHT, picture=1)
    assert told(job, previews) is not None


def test_where_pictures_are_not_checked_previews_are_not_either(new_job: NewJob, previews: Noted) -> None:
    checker = BlocksDark()
    job = new_job(checker.check, check_safety=False)
    show(job, DARK)
    assert told(job, previews) is not None
    assert checker.asked == []
