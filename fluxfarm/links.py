"""Signed, expiring links to our own `/files/…` URLs, and the secrets that sign them."""

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from fluxfarm.errors import SettingsError
from fluxfarm.settings import Settings

EXPIRES = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
SHORTEST_SECRET = 16


class LinkSigner:
    """Signs with the first secret, accepts all of them, so that links outlive a rotation."""

    def __init__(self, secrets: tuple[bytes, ...]) -> None:
        if not secrets:
            raise ValueError("signing links takes at least one secret")
        self._secrets = secrets

    def sign(self, path: str, expires: int) -> str:
        """The query string that lets anyone read `path` until `expires`, in seconds since 1970."""
        return f"exp={expires}&sig={_signature(self._secrets[0], path, str(expires))}"

    def verify(self, path: str, exp: str | None, sig: str | None, now: float) -> bool:
        """Whether we signed this very path and time, and the time has not come."""
        if exp is None or sig is None or not EXPIRES.fullmatch(exp) or now >= int(exp):
            return False
        given = _bytes(sig)
        # Every secret is tried, so that the time taken does not tell which one matched.
        matches = [hmac.compare_digest(_signature(secret, path, exp).encode(), given) for secret in self._secrets]
        return any(matches)


def load_secrets(settings: Settings) -> tuple[bytes, ...]:
    """The secrets for `LinkSigner`, newest first: from the settings, else from a file that is made once.

    Raises:
        SettingsError: a secret is too short to protect anything, or the file cannot be used.

    """
    if settings.link_secrets:
        return _checked(settings.link_secrets, "FLUXFARM_LINK_SECRETS")
    path = _secrets_file(settings)
    try:
        if not path.exists():
            _create(path)
        return _checked(_lines(path), str(path))
    except OSError as error:
        raise SettingsError(f"{path} cannot be used: {error.strerror}") from None


def rotate(settings: Settings) -> None:
    """Put a new secret in front; links that older ones signed stay valid. Takes effect where secrets are loaded next.

    Raises:
        SettingsError: the secrets come from the environment, or the file cannot be used.

    """
    if settings.link_secrets:
        raise SettingsError("the secrets come from FLUXFARM_LINK_SECRETS; put a new one in front of the others there")
    load_secrets(settings)
    path = _secrets_file(settings)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _draft(path, (secrets.token_urlsafe(32), *_lines(path))).replace(path)


def _signature(secret: bytes, path: str, expires: str) -> str:
    signed = _bytes(f"fluxfarm-link-1\n{expires}\n{path}")
    return base64.urlsafe_b64encode(hmac.digest(secret, signed, hashlib.sha256)).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _secrets_file(settings: Settings) -> Path:
    return settings.data_dir / "secrets" / "links"


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())


def _checked(found: tuple[str, ...], where: str) -> tuple[bytes, ...]:
    if not found or min(map(len, found)) < SHORTEST_SECRET:
        raise SettingsError(f"{where} must hold secrets of at least {SHORTEST_SECRET} characters")
    return tuple(secret.encode() for secret in found)


def _create(path: Path) -> None:
    """Several processes may start at once: the first link wins, and all read what it made."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = _draft(path, (secrets.token_urlsafe(32),))
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _draft(path: Path, lines: tuple[str, ...]) -> Path:
    draft = path.with_name(f".{secrets.token_hex(16)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, for its mode
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    return draft
