"""What the safety checkers say of a picture; whatever goes wrong there, the picture counts as unsafe.

They run on a thread of their own: one that hangs cannot be stopped, and whoever waits is answered all the same.
"""

import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from fluxfarm.moderation import Checked, Decision
from fluxfarm.outcomes import Safety
from fluxfarm.settings import Settings
from worker.pipelines import Checker, Pixels, Verdict, load_safety_checkers

log = logging.getLogger("fluxfarm")

FAILED: Final = "checker failed"
_FAILURES_IN_A_ROW: Final = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What one checker said of a picture; without a score it failed."""

    checker: str
    label: str
    score: float | None
    threshold: float | None
    blocked: bool

    @property
    def failed(self) -> bool:
        return self.score is None

    def decision(self, stage: Checked, what: str, *, withheld: bool) -> Decision:
        """As the moderation log keeps it."""
        verdict = Safety.FLAGGED if self.blocked else Safety.PASSED
        return Decision(stage, what, verdict, withheld, self.checker, self.label, self.score, self.threshold)


@dataclass(frozen=True, slots=True)
class Judged:
    """What all of them said, one finding each, and what follows."""

    findings: tuple[Finding, ...]
    blocked: bool

    @property
    def decisive(self) -> Finding:
        """The finding to tell: the first that blocks the picture, or else the one that came nearest to it."""
        return next((each for each in self.findings if each.blocked), max(self.findings, key=_nearness))

    def decisions(self, stage: Checked, what: str) -> list[Decision]:
        """As the moderation log keeps them."""
        return [each.decision(stage, what, withheld=self.blocked) for each in self.findings]


def _nearness(finding: Finding) -> float:
    return (finding.score or 0.0) - (finding.threshold or 0.0)


Check = Callable[[Pixels], Judged]
"""Judges a picture by all checkers that it must pass; several threads may ask at once."""

_Answer = queue.SimpleQueue[tuple[Finding, ...]]


class Checking:
    """A process has one; several threads may ask it."""

    def __init__(self, checkers: Sequence[Checker], *, all_must_agree: bool, limit_seconds: float) -> None:
        self._checkers = checkers
        self._all_must_agree = all_must_agree
        self._limit_seconds = limit_seconds
        self._asked: queue.SimpleQueue[tuple[Pixels, _Answer]] = queue.SimpleQueue()
        self._hangs = False
        self._failures = 0
        threading.Thread(target=self._run, name="check", daemon=True).start()

    @classmethod
    def of(cls, locations: Sequence[str], settings: Settings) -> Self:
        """With the checkers that lie there, as the settings want them; raises `WorkerFault` if one cannot be used."""
        return cls(
            load_safety_checkers(locations, labels=settings.safety_labels, threshold=settings.safety_threshold),
            all_must_agree=settings.safety_combine == "all",
            limit_seconds=settings.safety_limit_seconds,
        )

    @property
    def broken(self) -> bool:
        """It will not get well by itself: a checker hangs, or has failed twice in a row."""
        return self._hangs or self._failures >= _FAILURES_IN_A_ROW

    def check(self, pixels: Pixels) -> Judged:
        """Judge one picture, within the limit; raises nothing."""
        findings = self._findings(pixels)
        failed = any(finding.failed for finding in findings)
        self._failures = self._failures + 1 if failed else 0
        agree = all if self._all_must_agree else any
        return Judged(findings, failed or agree(finding.blocked for finding in findings))

    def _findings(self, pixels: Pixels) -> tuple[Finding, ...]:
        if not self._hangs:
            answer: _Answer = queue.SimpleQueue()
            self._asked.put((pixels, answer))
            try:
                return answer.get(timeout=self._limit_seconds)
            except queue.Empty:
                log.error("a safety checker hangs", extra={"fields": {"seconds": self._limit_seconds}})  # noqa: TRY400 (nothing was raised there)
                self._hangs = True
        return tuple(_failure(checker) for checker in self._checkers)

    def _run(self) -> None:
        while True:
            pixels, answer = self._asked.get()
            answer.put(tuple(_finding(checker, pixels) for checker in self._checkers))


def _finding(checker: Checker, pixels: Pixels) -> Finding:
    try:
        return _found(checker.name, checker.check(pixels))
    except Exception:
        log.exception("a safety checker failed", extra={"fields": {"checker": checker.name}})
        return _failure(checker)


def _found(name: str, verdict: Verdict) -> Finding:
    if not math.isfinite(verdict.score):
        raise ValueError(f"a score of {verdict.score}")
    return Finding(name, verdict.label, verdict.score, verdict.threshold, verdict.blocked)


def _failure(checker: Checker) -> Finding:
    return Finding(checker.name, FAILED, None, None, blocked=True)
