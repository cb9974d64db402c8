"""The values that travel between worker, database and API about what a prediction has come to; no ORM rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fluxfarm.status import Stage


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a held prediction has come; counts start at 1 once something is done."""

    stage: Stage = Stage.CLAIMED
    picture: int = 0
    step: int = 0
    steps: int = 0
    picture_seconds: float = 0.0
    """Time spent on the present picture."""

    def left_seconds(self, pictures: int) -> float | None:
        """What all pictures still take at the pace of the present one; None before its first step."""
        if not self.step:
            return None
        left = self.steps - self.step + self.steps * (pictures - self.picture)
        return self.picture_seconds / self.step * left


class Safety(StrEnum):
    """What is known of a picture's content."""

    PASSED = "passed"
    FLAGGED = "flagged"
    """Found unsafe, or not judged by a checker that failed; it is withheld."""
    UNCHECKED = "unchecked"
    """No checker is configured."""
    SKIPPED = "skipped"
    """Its owner asked for that, and may."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """A picture that was drawn and lies nowhere."""

    position: int
    seed: int
    checker: str
    reason: str
    """The label that the checker gave it, or that the checker failed."""
    score: float | None


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One picture as it lies in the store; `crop` is the part of the input picture that was kept, in its pixels."""

    position: int
    object_key: str
    media_type: str
    bytes: int
    sha256: str
    width: int
    height: int
    render_width: int
    render_height: int
    crop: dict[str, int] | None
    seed: int
    steps: int
    device_microseconds: int
    safety: Safety
    safety_score: float | None = None
    safety_checker: str | None = None


@dataclass(frozen=True, slots=True)
class Remarks:
    """What is told of a success beside its pictures."""

    notices: Sequence[str] = ()
    withheld: Sequence[Withheld] = ()
    made_with: Mapping[str, Any] | None = None
    """Weights, scheduler, dtype, libraries and the hashes of LoRAs."""


NOTHING = Remarks()


@dataclass(frozen=True, slots=True)
class Result:
    """How a prediction ended, other than its pictures."""

    error_code: str | None
    error_message: str | None
    device_microseconds: int
    notices: tuple[str, ...]
    withheld: tuple[Withheld, ...] = ()
    made_with: Mapping[str, Any] | None = None
    """Weights, scheduler, dtype and libraries."""
