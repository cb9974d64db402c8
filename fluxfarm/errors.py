"""Every error that the domain raises, each with a stable machine code.

The API turns codes into HTTP numbers (`api/errors.py`), the worker into attempts; nothing here knows of either.

    FluxfarmError
        InvalidInput            a field of a request is wrong; `details` names each
        ModelNotFound           no such model in the catalogue
        NotFound                no such thing, or it is another tenant's
        Conflict                what is there already stands against it
            InFlight            the first of a repeated create is still under way
            NotFinished         only what has ended may be forgotten
        RepeatedDifferently     an Idempotency-Key or a client's own id stands for another request
        ObjectMissing           the store does not hold an object that a row names
        Unauthenticated         no key, or one that is unknown, expired or revoked
        Forbidden               the key is right but may not do this
            SafetyCheckerRequired
            PromptBlocked       the prompt falls under a rule of the prompt filter
            TenantSuspended
            ModelNotAllowed     the key's or its tenant's list of models lacks it
        LimitReached            try again later; carries `retry_after`
            RateLimited, ConcurrencyLimited, QueueFull
        Unavailable             a part the farm needs is away
        PredictionFailed        ends one prediction with its code; trying again would not help
        Cancelled               its owner wishes it to end: drop it and say so
        LeaseLost               somebody else may hold this prediction now; drop it
        WorkerFault             the device, the weights or the store is broken, not the prediction
        SettingsError           a setting is missing or wrong
"""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: its dotted name, what was wrong and what is allowed, and (shortened) what was sent."""

    field: str
    message: str
    sent: Any = None


class FluxfarmError(Exception):
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, details: tuple[FieldError, ...] = (), retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after = retry_after


class InvalidInput(FluxfarmError):
    code = "invalid_input"


class ModelNotFound(FluxfarmError):
    code = "model_not_found"


class NotFound(FluxfarmError):
    code = "not_found"


class ObjectMissing(FluxfarmError):
    code = "object_missing"


class Conflict(FluxfarmError):
    code = "conflict"


class InFlight(Conflict):
    code = "idempotency_in_flight"


class NotFinished(Conflict):
    code = "not_finished"


class RepeatedDifferently(FluxfarmError):
    code = "idempotency_mismatch"


class Unauthenticated(FluxfarmError):
    code = "unauthenticated"


class Forbidden(FluxfarmError):
    code = "forbidden"


class SafetyCheckerRequired(Forbidden):
    code = "safety_checker_required"


class PromptBlocked(Forbidden):
    code = "prompt_blocked"


class TenantSuspended(Forbidden):
    code = "tenant_suspended"


class ModelNotAllowed(Forbidden):
    code = "model_not_allowed"


@dataclass(frozen=True, slots=True)
class LimitState:
    """Where a key stands: creates within the sliding minute, and active predictions."""

    rate_limit: int
    rate_remaining: int
    rate_reset_seconds: float
    active_limit: int
    active_remaining: int


class LimitReached(FluxfarmError):
    """A limit of the key, its tenant or the queue; `limits` says where the key stands, if that was looked up."""

    code = "limit_reached"
    limits: LimitState | None = None


class RateLimited(LimitReached):
    code = "rate_limited"


class ConcurrencyLimited(LimitReached):
    code = "concurrency_limited"


class QueueFull(LimitReached):
    code = "queue_full"


class Unavailable(FluxfarmError):
    code = "unavailable"


class Busy(Unavailable):
    """A part is there, but a lock, a time limit or too many others stood in the way."""


class PredictionFailed(FluxfarmError):
    """Ends a prediction; `reason` is the stable code its owner reads in `error_code`."""

    code = "prediction_failed"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Cancelled(FluxfarmError):
    code = "cancelled"


class LeaseLost(FluxfarmError):
    code = "lease_lost"


class WorkerFault(FluxfarmError):
    code = "worker_fault"


class SettingsError(FluxfarmError):
    code = "settings_error"
