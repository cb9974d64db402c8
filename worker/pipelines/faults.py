"""What torch and its libraries raise, as the worker's own failures in one sentence."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from fluxfarm.errors import WorkerFault

LOADING_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError)
"""What the `from_pretrained` methods raise when files are missing, cut short or of another shape."""


@contextmanager
def device_faults(remedy: str = "") -> Iterator[None]:
    """Turn what torch raises into a `WorkerFault`, and let go of the memory that the failed work held.

    `remedy` says what to do about too little memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
            raise WorkerFault(f"The device ran out of memory. {remedy}".strip()) from error
        raise WorkerFault(f"The device failed: {first_line(error)}") from error


@contextmanager
def checker_faults() -> Iterator[None]:
    """Turn whatever goes wrong in a safety checker into a `WorkerFault`."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, LookupError, MemoryError) as error:
        raise WorkerFault(f"A safety checker failed: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
