"""Calls that are held until their prediction has ended, on doors that answer them with pictures or an error."""

import uuid
from contextlib import suppress

from flask import Request

from api import polls
from api.creating import Created
from api.seen import Answer, Render
from api.services import services
from fluxfarm.errors import NotFound, PredictionFailed, Unavailable
from fluxfarm.keys import Caller
from fluxfarm.status import Status


class WithoutPictures(PredictionFailed):
    """A held call gets none: its prediction ended without, or goes on."""

    def __init__(self, reason: str, message: str, prediction: uuid.UUID, retry_after: int | None = None) -> None:
        super().__init__(reason, message)
        self.prediction = prediction
        self.retry_after = retry_after


def seconds(request: Request) -> int:
    """How long the call may be held: `?wait=` or `Prefer: wait` seconds, but no longer than the deployment says."""
    longest = int(services().settings.hold_seconds)
    return min(longest, polls.wait_seconds(request, unsaid=longest))


def pictures(caller: Caller, created: Created, wait_seconds: int, render: Render) -> Answer:
    """The finished prediction as `render` tells it.

    Raises:
        WithoutPictures: it goes on after this time, or was cancelled.

    """
    answer = look(caller, created.id, wait_seconds, render)
    if answer is None or not answer.ended:
        message = f"The prediction goes on; poll it by its id {created.id}."
        raise WithoutPictures("still_running", message, created.id, answer.retry_after if answer else None)
    if answer.standing.status is Status.CANCELLED:
        raise WithoutPictures("cancelled", "The prediction was cancelled.", created.id)
    return answer


def look(caller: Caller, prediction: uuid.UUID, wait_seconds: int, render: Render) -> Answer | None:
    """Where it stands once it has ended, or after this time; None if that cannot be told now."""
    with suppress(Unavailable, NotFound):
        return polls.look(prediction, caller.tenant_id, caller.key_id, polls.Wish(wait_seconds), render).answer
    # It was created, and its caller must get to know the id.
    return None
