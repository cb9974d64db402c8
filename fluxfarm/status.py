"""The words for a prediction's state and the moves between them; pure, and the only place that lists them."""

from enum import StrEnum


class Status(StrEnum):
    QUEUED = "queued"
    """Admitted; holds a slot of its key; waits for a claim."""
    PROCESSING = "processing"
    """Claimed; a worker holds a lease on it."""
    SUCCEEDED = "succeeded"
    """All pictures stored and recorded."""
    FAILED = "failed"
    """Ended by the farm, with an error code."""
    CANCELLED = "cancelled"
    """Ended by its owner's wish, or by the deadline its owner set."""


ACTIVE = frozenset({Status.QUEUED, Status.PROCESSING})
TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})

MOVES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.PROCESSING, Status.FAILED, Status.CANCELLED}),
    Status.PROCESSING: frozenset({Status.QUEUED, *TERMINAL}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class Stage(StrEnum):
    """What a worker is doing with a prediction it holds; each stage has a time limit of its own."""

    CLAIMED = "claimed"
    FETCH = "fetch"
    ENCODE_PROMPT = "encode_prompt"
    STEP = "step"
    DECODE = "decode"
    CHECK = "check"
    ENCODE = "encode"
    STORE = "store"
