"""One prediction in this process's hands: how far it has come, and the word that ends its render early.

Written by the threads that work on it and read by the lease's; plain attributes suffice: each deadline has one writer,
and of two reasons to stop either will do.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fluxfarm.errors import FluxfarmError
from fluxfarm.lifecycle import Claimed
from fluxfarm.moderation import Decision
from fluxfarm.moves import Moved, Word
from fluxfarm.outcomes import Progress, StoredOutput, Withheld
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from worker.pipelines import Pixels
from worker.previewer import Previewer
from worker.watchdog import Watchdog

NEVER = float("inf")
ON_DEVICE = frozenset({Stage.ENCODE_PROMPT, Stage.STEP, Stage.DECODE})


class StopReason(StrEnum):
    CANCELLED = "cancelled"
    """Its owner wished so."""
    LOST = "lost"
    """Somebody else may hold it now."""
    HANDED_BACK = "handed_back"
    """This process is stopping."""
    FAILED = "failed"
    """A picture of it already failed beyond repair."""


class Stopped(FluxfarmError):
    code = "stopped"

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"The render was stopped: {reason}.")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class StageLimits:
    """Seconds a stage may take before the prediction counts as stuck."""

    fetch: float
    device: float
    store: float

    @classmethod
    def of(cls, settings: Settings) -> "StageLimits":
        # A fetch keeps its own time; the margin is for decoding and scaling what was fetched.
        return cls(
            max(settings.fetch_limit_seconds, settings.lora_limit_seconds) + 10,
            settings.step_limit_seconds,
            settings.store_limit_seconds,
        )

    def seconds(self, stage: Stage) -> float:
        if stage in ON_DEVICE:
            return self.device
        return self.store if stage in (Stage.CHECK, Stage.ENCODE, Stage.STORE) else self.fetch


@dataclass(slots=True, eq=False)
class Job:
    """Follows one claimed prediction; as the pipeline's `Watch` it is told of each stage and step."""

    claimed: Claimed
    limits: StageLimits
    watchdog: Watchdog
    must_hand_back: Callable[[], bool]
    tell: Callable[[Iterable[Moved]], None] | None = None
    """Whoever waits for it hears of each step."""
    previewer: Previewer | None = None
    progress: Progress = field(default_factory=Progress)
    stop: StopReason | None = None
    outputs: list[StoredOutput] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    loras: list[str] = field(default_factory=list)
    """SHA-256 of the file of each, in the order in which they were asked for."""
    withheld: list[Withheld] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    """What checks said of it, not yet in the log."""
    crop: dict[str, int] | None = None
    size: tuple[int, int] = (0, 0)
    steps: int = 0
    device_seconds: float = 0.0
    _picture_started: float = 0.0
    _resumed: float = 0.0
    _deadline: float = NEVER
    """Of the fetch or the device; none while the job waits for the next thread."""
    _finish_deadline: float = NEVER

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.limits.seconds(Stage.CLAIMED)
        if self.claimed.cancel_requested:
            self.stop = StopReason.CANCELLED

    @property
    def device_microseconds(self) -> int:
        return round(self.device_seconds * 1e6)

    @property
    def stuck_seconds(self) -> float:
        """How long it has been past the limit of its stage; its lease is then renewed no more."""
        return max(0.0, time.monotonic() - min(self._deadline, self._finish_deadline))

    def rest(self) -> None:
        """Nothing is done on it until the device or the finisher takes it."""
        self._deadline = NEVER

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """It has the device: its time there is measured, and a hang ends the process."""
        self._take_device()
        try:
            yield
        finally:
            self._leave_device()

    @contextmanager
    def off_device(self) -> Iterator[None]:
        """For a moment it waits for something else, for as long as that takes."""
        self._leave_device()
        try:
            yield
        finally:
            self._take_device()

    def stage(self, stage: Stage) -> None:
        self.check()
        picture = self.progress.picture
        if stage is Stage.STEP:
            self._picture_started = time.monotonic()
            picture += 1
            self._advance(Progress(stage, picture, 0, self.progress.steps))
            self._tell(Word.LOG, line=f"Using seed: {self.claimed.plan.seeds[picture - 1]}")
        else:
            self._advance(Progress(stage, picture, self.progress.step, self.progress.steps, self._picture_seconds()))

    def step(self, picture: int, step: int, steps: int) -> None:
        self.steps = steps
        progress = Progress(Stage.STEP, picture + 1, step, steps, self._picture_seconds())
        self._advance(progress)
        pictures = len(self.claimed.plan.seeds)
        self._tell(Word.PROGRESS, steps=steps, pictures=pictures, seconds=progress.picture_seconds)
        self.check()

    def wants_preview(self) -> bool:
        return self.previewer is not None and self.previewer.wanted(self.claimed)

    def preview(self, draw: Callable[[], Pixels]) -> None:
        if self.previewer is not None:
            self.previewer.offer(self.claimed, self.progress, draw)

    def afterwards(self, stage: Stage | None) -> None:
        """A stage of the finisher, which may run while the device goes on; None when it is through."""
        self._finish_deadline = NEVER if stage is None else time.monotonic() + self.limits.seconds(stage)

    def check(self) -> None:
        """Raise `Stopped` if it should not go on."""
        if self.stop is None and self.must_hand_back():
            self.stop = StopReason.HANDED_BACK
        if self.stop is not None:
            raise Stopped(self.stop)

    def _advance(self, progress: Progress) -> None:
        self.progress = progress
        self._expect_within(self.limits.seconds(progress.stage), armed=progress.stage in ON_DEVICE)

    def _expect_within(self, seconds: float, *, armed: bool) -> None:
        self._deadline = time.monotonic() + seconds
        if armed:
            self.watchdog.arm(seconds)

    def _tell(self, word: Word, **more: Any) -> None:
        if self.tell is not None:
            held, at = self.claimed, self.progress
            self.tell((Moved(held.id, held.key_id, held.attempt, word, at.picture, at.step, more),))

    def _take_device(self) -> None:
        self._resumed = time.perf_counter()
        self._expect_within(self.limits.device, armed=True)

    def _leave_device(self) -> None:
        self.watchdog.disarm()
        self.rest()
        self.device_seconds += time.perf_counter() - self._resumed

    def _picture_seconds(self) -> float:
        return round(time.monotonic() - self._picture_started, 3) if self._picture_started else 0.0
