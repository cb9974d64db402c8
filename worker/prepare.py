"""The fetch stage: an input picture is brought in, read and cut to size, on a thread of its own.

So the device's thread never waits for somebody else's server: while one picture is on its way, it renders predictions
that need none; and where that server is slow, those whose pictures come from others.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from fluxfarm import pictures
from fluxfarm.catalog import Model
from fluxfarm.errors import FluxfarmError, ObjectMissing, PredictionFailed
from fluxfarm.moderation import Checked
from fluxfarm.plans import Plan
from fluxfarm.settings import Settings
from fluxfarm.sizes import Size, matching
from fluxfarm.status import Stage
from fluxfarm.storage import ObjectStore
from worker import outbound, verdicts
from worker.checking import Checking
from worker.fitting import Fitted, Sent, Source, drawn, fitted, read, source_of
from worker.job import Job, StopReason
from worker.loras import LoraReader
from worker.pipelines import Lora, RenderOrder

log = logging.getLogger("fluxfarm")

AT_ONCE: Final = 4
"""Jobs that are held here at the most beside the one on the device."""
SLOW_SECONDS: Final = 1.0
"""Whoever's picture is not here by then keeps nobody else from being prepared."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A job that the device can take, or the reason why it never will."""

    job: Job
    order: RenderOrder | None
    failure: FluxfarmError | None = None


class Preparer:
    """Prepares jobs that need a picture, others are ready at once.

    One at a time, for what this process holds no other can take; more of them only beside slow ones.
    """

    def __init__(
        self, models: Mapping[str, Model], store: ObjectStore, settings: Settings, checking: Checking | None = None
    ) -> None:
        self._models = models
        self._store = store
        self._settings = settings
        self._checking = checking
        self._loras = LoraReader(settings)
        self._asked: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[Ready] = queue.SimpleQueue()
        self._under_way: dict[Job, float] = {}
        for _ in range(AT_ONCE):
            threading.Thread(target=self._run, name="prepare", daemon=True).start()

    @property
    def busy(self) -> bool:
        """A picture is on its way, or waits to be taken."""
        return bool(self._under_way)

    @property
    def has_room(self) -> bool:
        """Another may be submitted."""
        slow_since = time.monotonic() - SLOW_SECONDS
        return len(self._under_way) < AT_ONCE and all(begun < slow_since for begun in self._under_way.values())

    def submit(self, job: Job) -> None:
        self._under_way[job] = time.monotonic()
        self._asked.put(job)

    def take(self, seconds: float) -> Ready | None:
        """The job whose picture has come in; waits that long for it."""
        try:
            ready = self._ready.get(timeout=seconds) if seconds else self._ready.get_nowait()
        except queue.Empty:
            return None
        del self._under_way[ready.job]
        return ready

    def abandon(self) -> None:
        """Stop fetching; the jobs come out as such that cannot be rendered here."""
        for job in self._under_way:
            job.stop = job.stop or StopReason.HANDED_BACK

    def without_pictures(self, job: Job) -> Ready:
        plan = job.claimed.plan
        assert plan.width is not None
        assert plan.height is not None
        return Ready(job, self._order(job, Size(plan.width, plan.height), Fitted()))

    def _run(self) -> None:
        while True:
            job = self._asked.get()
            ready = self._prepared(job)
            job.rest()
            self._ready.put(ready)

    def _prepared(self, job: Job) -> Ready:
        try:
            return Ready(job, self._with_pictures(job))
        except FluxfarmError as error:
            return Ready(job, None, error)
        except Exception as error:
            log.exception("an input picture could not be prepared")
            failure = PredictionFailed("input_not_a_picture", "The input picture cannot be read.")
            failure.__cause__ = error
            return Ready(job, None, failure)

    def _with_pictures(self, job: Job) -> RenderOrder:
        plan, model = job.claimed.plan, self._models[job.claimed.model]
        sent = {name: self._fetch(job, plan, name) for name in plan.picture_names}
        job.stage(Stage.CHECK)
        for name in sorted(sent.keys() - {"mask"}) if self._checking else ():
            self._refuse_unsafe(job, name, sent)
        source = source_of(model, plan, sent)
        target = _target(plan, source)
        found = fitted(model, plan, sent, source, drawn(model, target))
        job.crop = found.crop
        return self._order(job, target, found, self._worn(job, model))

    def _worn(self, job: Job, model: Model) -> tuple[Lora, ...]:
        found = []
        for place, asked in enumerate(job.claimed.plan.loras):
            job.stage(Stage.FETCH)
            lora, notices = self._loras.read(model.loras, asked, f"loras[{place}]", lambda: job.stop is not None)
            job.notices.extend(notices)
            job.loras.append(lora.sha256)
            found.append(lora)
        return tuple(found)

    def _fetch(self, job: Job, plan: Plan, name: str) -> bytes:
        job.stage(Stage.FETCH)
        if name in plan.picture_keys:
            try:
                return b"".join(self._store.read(plan.picture_keys[name]))
            except ObjectMissing as error:
                raise PredictionFailed(
                    "input_missing", f"{name}: what was sent as data is not in the store."
                ) from error
        url, settings = plan.picture_urls[name], self._settings
        try:
            return outbound.fetch(url, settings=settings, cancelled=lambda: job.stop is not None)
        except PredictionFailed as failure:
            raise PredictionFailed(failure.reason, f"{name}: {failure.message}") from failure

    def _refuse_unsafe(self, job: Job, name: str, sent: Sent) -> None:
        pixels = np.asarray(read(name, sent, pictures.open_picture))
        judged = verdicts.judge(self._checking, job, Checked.INPUT, name, pixels)
        if judged is not None and judged.blocked:
            raise PredictionFailed("content_blocked", verdicts.why_input(name, judged.decisive))

    def _order(self, job: Job, target: Size, found: Fitted, loras: tuple[Lora, ...] = ()) -> RenderOrder:
        plan = job.claimed.plan
        small = drawn(self._models[job.claimed.model], target)
        enlarge = self._settings.enlarge_stand_ins
        job.size = (target.width, target.height) if enlarge else (small.width, small.height)
        return RenderOrder(
            prompt=plan.prompt,
            seeds=plan.seeds,
            width=small.width,
            height=small.height,
            steps=plan.num_inference_steps,
            guidance=plan.guidance,
            prompt_strength=plan.prompt_strength,
            redux_strength=plan.redux_strength,
            negative_prompt=plan.negative_prompt,
            true_cfg_scale=plan.true_cfg_scale,
            loras=loras,
            **found.pictures,
        )


def _target(plan: Plan, source: Source | None) -> Size:
    """The size of the file."""
    if plan.width is not None and plan.height is not None:
        return Size(plan.width, plan.height)
    assert source is not None
    return matching(Size(*source.picture.size), plan.megapixels)
