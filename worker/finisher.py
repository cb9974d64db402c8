"""What comes after the device, on a thread of its own: check, encode, store and complete, while the next one renders.

Every end of a prediction this process holds goes through here, so that the device's thread never waits for the store
or for a commit. The queue is short: a store that falls behind slows the device rather than filling memory. While the
store is away, what is rendered is kept for a while and then handed back; nothing is claimed until it answers again.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self, TypeVar

from sqlalchemy.orm import Session

from fluxfarm import lifecycle, lookup, moderation
from fluxfarm.database import Database
from fluxfarm.errors import LeaseLost, PredictionFailed, Unavailable
from fluxfarm.moderation import Checked
from fluxfarm.outcomes import Remarks, Safety, StoredOutput
from fluxfarm.safety_policy import Policy
from fluxfarm.status import Stage
from fluxfarm.storage import ObjectStore, object_key
from worker import images, verdicts
from worker.checking import Checking
from worker.images import PictureMetadata
from worker.job import Job, StopReason
from worker.lease import LeaseKeeper
from worker.making import Making
from worker.pipelines import Rendered

log = logging.getLogger("fluxfarm")
T = TypeVar("T")

WAITING_PICTURES = 4
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
PATIENCE_SECONDS = 0.1


class End(StrEnum):
    """How a job leaves this process, other than by a failure that its owner is told."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    """For the reason in `job.stop`."""
    AWAY = "away"
    """A part it needs is away: later will do."""
    FAULT = "fault"
    """The device or the weights failed: another worker may do."""


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of a job to store, or how the job ends."""

    job: Job
    content: Rendered | End | PredictionFailed


class Finisher:
    """As a context manager it works off what it was given before it leaves."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        keeper: LeaseKeeper,
        checking: Checking | None,
        *,
        metadata: bool = True,
        makings: Mapping[str, Making] | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._keeper = keeper
        self._checking = checking
        self._metadata = metadata
        self._makings = makings or {}
        self._items: queue.Queue[Item | None] = queue.Queue(WAITING_PICTURES)
        self._thread = threading.Thread(target=self._run, name="finish", daemon=True)
        self._store_failing = False
        self.store_away = False
        """Pictures could not be stored for so long that they were handed back."""

    @property
    def broken(self) -> bool:
        """The safety checkers do not work any more."""
        return self._checking is not None and self._checking.broken

    def require_checks(self, job: Job) -> None:
        """Raises `PredictionFailed` where policy has pictures checked and there is nothing here to check them."""
        plan = job.claimed.plan
        if self._checking is None and plan.safety_policy == Policy.ENFORCED:
            message = f"By the {plan.safety_set_by}'s policy pictures are checked, and no safety checker is configured."
            raise PredictionFailed("no_safety_checker", message)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._items.put(None)
        self._thread.join()

    def picture(self, job: Job, rendered: Rendered) -> None:
        """Take over a picture from the device; raises `Stopped` if the job is stopped while the queue is full."""
        try:
            # Mostly there is room, and to leave the device and come back costs milliseconds.
            self._items.put_nowait(Item(job, rendered))
        except queue.Full:
            with job.off_device():
                self._put_when_there_is_room(job, rendered)

    def _put_when_there_is_room(self, job: Job, rendered: Rendered) -> None:
        while True:
            try:
                self._items.put(Item(job, rendered), timeout=PATIENCE_SECONDS)
            except queue.Full:
                job.check()
            else:
                return

    def end(self, job: Job, end: End | PredictionFailed) -> None:
        self._items.put(Item(job, end))

    def _run(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._finish_or_drop(item)
            except Exception:
                log.exception("a prediction could not be finished", extra={"fields": _fields(item.job)})
                item.job.stop = StopReason.LOST
                self._keeper.drop(item.job)
            item.job.afterwards(None)

    def _next(self) -> Item | None:
        while self.store_away:
            try:
                return self._items.get(timeout=LONGEST_PAUSE_SECONDS)
            except queue.Empty:
                self._try_store()
        return self._items.get()

    def _try_store(self) -> None:
        try:
            self._store.probe()
        except Unavailable:
            return
        self._store_answered()

    def _finish_or_drop(self, item: Item) -> None:
        try:
            self._finish(item.job, item.content)
        except LeaseLost:
            log.info("lease lost; the result is dropped", extra={"fields": _fields(item.job)})
            self._forget(item.job, StopReason.LOST)

    def _finish(self, job: Job, content: Rendered | End | PredictionFailed) -> None:
        if isinstance(content, Rendered):
            if job.stop is None:
                self._keep_picture(job, content)
        elif isinstance(content, PredictionFailed):
            self._fail(job, content)
        elif job.stop is not None:
            self._end_stopped(job)
        elif content is End.COMPLETE:
            self._complete(job)
        elif content is End.AWAY:
            job.stop = StopReason.HANDED_BACK
            self._end_stopped(job)
        else:
            self._let_go(job)

    def _keep_picture(self, job: Job, rendered: Rendered) -> None:
        job.afterwards(Stage.CHECK)
        judged = verdicts.judge(self._checking, job, Checked.OUTPUT, str(rendered.index), rendered.pixels)
        if judged is not None and judged.blocked:
            job.withheld.append(verdicts.withheld(rendered, judged.decisive))
            return
        job.afterwards(Stage.ENCODE)
        data = self._encoded(job, rendered)
        output = replace(_stored_output(job, rendered, data), **verdicts.safety(self._checking, judged))
        if self._persist(job, lambda: self._store.put(output.object_key, data, output.media_type)):
            job.outputs.append(output)

    def _encoded(self, job: Job, rendered: Rendered) -> bytes:
        plan, claimed = job.claimed.plan, job.claimed
        metadata = PictureMetadata.of(
            model=claimed.model, version=claimed.version, seed=rendered.seed, prompt=plan.prompt
        )
        return images.encode(
            rendered.pixels,
            output_format=plan.output_format,
            quality=plan.output_quality,
            metadata=metadata if self._metadata else None,
            size=job.size,
        )

    def _persist(self, job: Job, write: Callable[[], None]) -> bool:
        """Try a write to the store until the stage's time is over; then the prediction is handed back."""
        until = time.monotonic() + (0 if self.store_away else job.limits.store)
        for pause in _pauses():
            job.afterwards(Stage.STORE)
            try:
                write()
            except Unavailable as error:
                self._store_failed(error)
                if job.stop is not None or job.must_hand_back() or time.monotonic() + pause > until:
                    break
                _wait(job, pause)
            else:
                self._store_answered()
                return True
        if job.stop is None:
            job.stop = StopReason.HANDED_BACK
            self.store_away = True
        return False

    def _store_failed(self, error: Unavailable) -> None:
        if not self._store_failing:
            log.warning("part is away", extra={"fields": {"part": "store", "reason": error.message}})
        self._store_failing = True

    def _store_answered(self) -> None:
        if self._store_failing:
            log.info("part is back", extra={"fields": {"part": "store"}})
        self._store_failing = self.store_away = False

    def _complete(self, job: Job) -> None:
        if not job.outputs:
            self._fail(job, PredictionFailed("content_blocked", verdicts.why_all(job.withheld)))
            return
        if job.withheld:
            job.notices.append(f"The safety checker withheld {len(job.withheld)} of the pictures.")
        spent, making = job.device_microseconds, self._makings.get(job.claimed.model)
        remarks = Remarks(job.notices, job.withheld, {**making.told(), "loras": job.loras} if making else None)
        succeeded = self._write(
            job,
            lambda session: lifecycle.complete(
                session,
                job.claimed,
                job.outputs,
                device_microseconds=spent,
                remarks=remarks,
            ),
        )
        if succeeded is False:
            self._forget(job, StopReason.CANCELLED)
        self._keeper.drop(job)

    def _fail(self, job: Job, failure: PredictionFailed) -> None:
        reason, message, spent = failure.reason, failure.message, job.device_microseconds
        self._write(
            job,
            lambda session: lifecycle.fail(
                session,
                job.claimed,
                code=reason,
                message=message,
                device_microseconds=spent,
                withheld=job.withheld,
            ),
        )
        self._forget(job, StopReason.FAILED)

    def _end_stopped(self, job: Job) -> None:
        spent = job.device_microseconds
        if job.stop is StopReason.CANCELLED:
            self._write(job, lambda session: lifecycle.cancel_held(session, job.claimed, device_microseconds=spent))
        elif job.stop is StopReason.HANDED_BACK:
            self._write(job, lambda session: lifecycle.hand_back(session, job.claimed, device_microseconds=spent))
        self._forget(job, job.stop or StopReason.LOST)

    def _let_go(self, job: Job) -> None:
        # First, or the next beat may renew what was let go.
        self._keeper.drop(job)
        self._write(job, lambda session: lifecycle.let_go(session, job.claimed))
        self._forget(job, StopReason.FAILED)

    def _write(self, job: Job, move: Callable[[Session], T]) -> T | None:
        """While the database is away nobody can take over, so what is done is kept until it is back.

        A process that must end leaves it to the maintenance loop, and gets None.
        """
        job.afterwards(None)
        for pause in _pauses():
            try:
                with self._database.session_scope() as session:
                    written = move(session)
                    moderation.record(session, verdicts.subject(job), job.decisions)
            except Unavailable as error:
                if job.must_hand_back():
                    fields = {**_fields(job), "reason": error.message}
                    log.warning("a prediction is left to the maintenance loop", extra={"fields": fields})
                    break
                _wait(job, pause)
            else:
                return written
        return None

    def _forget(self, job: Job, reason: StopReason) -> None:
        """Its lease is not ours any more, and what was stored for it is nobody's."""
        job.stop = reason
        self._keeper.drop(job)
        keys = {output.object_key for output in job.outputs}
        job.outputs.clear()
        if not keys:
            return
        try:
            # A commit whose answer was lost looks like a lost lease; its pictures must stay.
            with self._database.session_scope() as session:
                keys -= lookup.object_keys(session, job.claimed.id)
            self._store.delete(sorted(keys))
        except Unavailable as error:
            log.warning("objects are left behind", extra={"fields": {**_fields(job), "reason": error.message}})


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)


def _wait(job: Job, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not job.must_hand_back():
        time.sleep(PATIENCE_SECONDS)


def _stored_output(job: Job, rendered: Rendered, data: bytes) -> StoredOutput:
    claimed, plan = job.claimed, job.claimed.plan
    height, width = rendered.pixels.shape[:2]
    return StoredOutput(
        position=rendered.index,
        object_key=object_key(
            claimed.tenant_id, claimed.id, claimed.attempt, claimed.claim_id, rendered.index, plan.output_format
        ),
        media_type=images.MEDIA_TYPES[plan.output_format],
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        width=job.size[0],
        height=job.size[1],
        render_width=width,
        render_height=height,
        crop=job.crop,
        seed=rendered.seed,
        steps=job.steps,
        device_microseconds=round(rendered.seconds * 1e6),
        safety=Safety.UNCHECKED,
    )


def _fields(job: Job) -> dict[str, object]:
    return {"prediction": job.claimed.id, "attempt": job.claimed.attempt, "request_id": job.claimed.request_id}
