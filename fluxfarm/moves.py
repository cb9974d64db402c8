"""What is told of a prediction to whoever waits for it: that its status moved, a step of its render, a line of its log.

Each has a place in the prediction's story, which is known without asking anybody: attempt by attempt, and within one by
picture and step. So what is told twice, or late by a worker that lost its lease, is known for what it is.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

OF_A_PICTURE = 100_000
"""More than the steps of a picture."""
BACK_IN_QUEUE = 10**12
"""Past all pictures of an attempt; its end is past that."""


class Word(StrEnum):
    QUEUED = "queued"
    STARTED = "started"
    PROGRESS = "progress"
    """A step, as the worker makes it."""
    NOTED = "noted"
    """The progress that its row shows is another."""
    PREVIEW = "preview"
    """A picture in small; no part of the story, and kept elsewhere."""
    LOG = "log"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDS = frozenset({Word.SUCCEEDED, Word.FAILED, Word.CANCELLED})


class Place(NamedTuple):
    """Where in its prediction's story something stands; later is larger."""

    attempt: int
    within: int


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing that happened to a prediction."""

    prediction: uuid.UUID
    key_id: str
    attempt: int
    word: Word
    picture: int = 0
    step: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place | None:
        """None for what only says that its row is worth a look."""
        if self.word in (Word.CANCELING, Word.NOTED):
            return None
        return place(self.word, self.attempt, self.picture, self.step)


def place(word: Word, attempt: int, picture: int = 0, step: int = 0) -> Place:
    if word in ENDS:
        return Place(attempt, BACK_IN_QUEUE + 1)
    if word is Word.QUEUED:
        return Place(attempt, BACK_IN_QUEUE)
    return Place(attempt, picture * OF_A_PICTURE + step)
