"""The text of an API key: prefix, id, 256-bit secret and checksum. Pure; knows no database."""

import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass

from fluxfarm.errors import Unauthenticated

PREFIX = "flx"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
SECRET_BYTES = 32
SECRET_LENGTH = 43
CHECK_LENGTH = 6


@dataclass(frozen=True, slots=True)
class Credential:
    """A new key: its id, the hash that is kept, and the text that is shown once."""

    id: str
    secret_sha256: bytes
    text: str


def new_credential() -> Credential:
    key_id = "".join(secrets.choice(BASE62) for _ in range(ID_LENGTH))
    secret = _base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_LENGTH)
    body = f"{PREFIX}_{key_id}_{secret}"
    return Credential(key_id, hashed(secret), f"{body}_{_check(body)}")


def split(text: str) -> tuple[str, str]:
    """Take a key apart into id and secret without any look-up; raises `Unauthenticated` if it cannot be one of ours."""
    body, _, check = text.rpartition("_")
    parts = body.split("_")
    well_formed = (
        text.isascii()
        and len(parts) == 3  # noqa: PLR2004 (prefix, id, secret)
        and parts[0] == PREFIX
        and len(parts[1]) == ID_LENGTH
        and len(parts[2]) == SECRET_LENGTH
        and hmac.compare_digest(check, _check(body))
    )
    if not well_formed:
        raise Unauthenticated("The API key is not valid: it is not one of this service's keys, or it was cut short.")
    return parts[1], parts[2]


def hashed(secret: str) -> bytes:
    """A plain SHA-256 suffices for a secret of 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


def _check(body: str) -> str:
    """A checksum, so that secret scanners and we can tell a key from a likeness without a look-up."""
    return _base62(zlib.crc32(body.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
