"""What a caller sent, as a refusal may repeat it: short, encodable, without passwords or the data of data URIs."""

import json
import math
import re
from typing import Any, Final

MOST_SHOWN: Final = 100
"""Characters that are repeated at most."""

_LOOKED_AT = 4096
_DATA_OF_URI = re.compile(r"(data:[^,\"]{0,80},)[^\"]+", re.IGNORECASE)
_USER_OF_URL = re.compile(r"://[^/?#\s\"]*@")


def shown(sent: Any) -> str:
    """What was sent, as it may stand in a sentence."""
    short = shortened(sent)
    return json.dumps(short, ensure_ascii=False) if isinstance(sent, str) or _is_plain(short) else str(short)


def shortened(sent: Any) -> Any:
    """What was sent, as details may carry it: small plain values as they are, the rest as short text."""
    if _is_plain(sent):
        return sent
    if isinstance(sent, str):
        return _cut(sent)
    if isinstance(sent, int):
        return f"a number of about {int(sent.bit_length() * math.log10(2)) + 1} digits"
    return _cut(_beginning(sent))


def _is_plain(sent: Any) -> bool:
    if isinstance(sent, float):
        return math.isfinite(sent)
    return sent is None or isinstance(sent, bool) or (isinstance(sent, int) and abs(sent) < 10**20)


def _beginning(sent: Any) -> str:
    """The start of a container as JSON, written only as far as needed: it may be huge, or too deep to write at all."""
    text = ""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(sent):
            text += piece
            if len(text) > MOST_SHOWN:
                break
    except (TypeError, ValueError):  # not JSON, or an integer too long to print
        return text + "…"
    return text


def _cut(text: str) -> str:
    masked = _USER_OF_URL.sub("://…@", _DATA_OF_URI.sub(r"\1…", text[:_LOOKED_AT]))
    safe = masked.encode(errors="backslashreplace").decode()
    return safe if len(safe) <= MOST_SHOWN else safe[:MOST_SHOWN] + "…"
