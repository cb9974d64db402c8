"""The kind of field that takes a picture: an http(s) URL to be fetched later, or a data URI that is decoded at once."""

import binascii
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from fluxfarm.fields import RefusedError, whole_characters

LONGEST_URL: Final = 2048
MEDIA_TYPES: Final = ("image/png", "image/jpeg", "image/webp")

URL_PATTERN: Final = (
    r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\x00-\x1f\x7f:/?#@\\][^\s\x00-\x1f\x7f/?#@\\]*(?:[/?#][^\s\x00-\x1f\x7f]*)?$"
)
_BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)"
_DATA_URI = f"^data:(?:{'|'.join(MEDIA_TYPES)});base64,{_BASE64}$"
_ANY_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LONGEST_HEADER = 100


@dataclass(frozen=True, slots=True)
class DataPicture:
    """A picture that came inside the request: the media type it claims, and its bytes, not yet looked at."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    @property
    def allowed(self) -> str:
        return "an http(s) URL or a data URI"

    def read(self, sent: Any) -> str | DataPicture:
        if not isinstance(sent, str):
            raise RefusedError(f"must be {self.allowed}")
        if sent[:5].lower() == "data:":
            return _decoded(sent)
        if _ANY_SCHEME.match(sent):
            return checked_url(sent)
        raise RefusedError("not a URL, data URI or file; leave it out for text-to-image")

    def schema(self) -> dict[str, Any]:
        url = {"format": "uri", "maxLength": LONGEST_URL, "pattern": URL_PATTERN}
        return {"type": "string", "anyOf": [url, {"pattern": _DATA_URI}]}


def checked_url(url: str) -> str:
    """The URL itself; raises `RefusedError` if it is none that may be fetched."""
    if len(url) > LONGEST_URL:
        raise RefusedError(f"must be a URL of at most {LONGEST_URL} characters; it has {len(url)}")
    if not re.fullmatch(URL_PATTERN, url) or not _has_address(url):
        raise RefusedError("must be an http or https URL with a host, without spaces, user name or password")
    return whole_characters(url)


def _has_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that hold no IPv6 address, or a port that is none
        return False


def _decoded(uri: str) -> DataPicture:
    start = uri.find(",", 0, _LONGEST_HEADER) + 1
    media_type, _, encoding = uri[len("data:") : max(start - 1, 0)].lower().partition(";")
    if media_type not in MEDIA_TYPES or encoding != "base64":
        raise RefusedError(f"must be a data URI data:<type>;base64,<data> with a type of {', '.join(MEDIA_TYPES)}")
    encoded = uri[start:]
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        data = None
    # Strict mode lets padding through where none belongs: "AAAA=", "AAAA====".
    if data is None or len(encoded) % 4 or encoded.endswith("==="):
        raise RefusedError("must be a data URI in strict base64: padded, without spaces or line breaks")
    if not data:
        raise RefusedError("must be a data URI with a picture in it; it is empty")
    return DataPicture(media_type, data)
