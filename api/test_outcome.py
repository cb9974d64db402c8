"""The header `X-Test-Outcome`: brings about, on stand-in weights only, what a client's program must handle."""

import re
from typing import Final

from werkzeug.wrappers import Request

from api import body
from api.codes import FAILURES
from fluxfarm.catalog import Model
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.sent import shortened

HEADER: Final = "X-Test-Outcome"
LONGEST_SECONDS: Final = 600
_SHORTHANDS: Final = ("content_blocked", "worker_lost")
_SLOW: Final = re.compile(r"slow=([0-9]{1,3}(?:\.[0-9]{1,3})?)", re.ASCII)


def wanted(request: Request, model: Model) -> str | None:
    """What the header asks for, as a plan carries it: the code to fail with, or `slow=` seconds; None without one.

    Raises:
        InvalidInput: it asks for something else than is known, or real weights serve the model.

    """
    sent = request.headers.get(HEADER, "").strip()
    if not sent:
        return None
    if not model.weights.stand_in:
        raise _invalid("is for models that stand-in weights serve", sent)
    slow = _SLOW.fullmatch(sent)
    if slow and float(slow[1]) <= LONGEST_SECONDS:
        return sent
    code = sent.removeprefix("error=")
    if sent in _SHORTHANDS or (code != sent and code in FAILURES):
        return code
    known = f"error=CODE, {', '.join(_SHORTHANDS)} or slow=SECONDS of at most {LONGEST_SECONDS}"
    raise _invalid(f"must be {known}, CODE one of {', '.join(FAILURES)}", sent)


def _invalid(message: str, sent: str) -> InvalidInput:
    return body.invalid([FieldError(HEADER, message, shortened(sent))])
