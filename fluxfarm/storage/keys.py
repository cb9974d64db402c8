"""The names of stored objects: made here only, and checked before any store uses one."""

import re
from uuid import UUID

SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
KEY = re.compile(rf"{SEGMENT}(/{SEGMENT}){{0,15}}")
PREFIX = re.compile(rf"({SEGMENT}/){{0,15}}({SEGMENT})?")


def object_key(
    tenant: UUID | str, prediction: UUID | str, attempt: int, claim: UUID | str, index: int, extension: str
) -> str:
    """The key of one output; attempt and claim are in it, so two workers never write to the same object."""
    return checked_key(f"{prediction_prefix(tenant, prediction)}{attempt}-{claim}/{index}.{extension}")


def input_key(tenant: UUID | str, file: UUID | str, extension: str) -> str:
    """The key of a picture that a caller sent."""
    return checked_key(f"tenants/{tenant}/files/{file}.{extension}")


def tenant_prefix(tenant: UUID | str) -> str:
    """What the keys of everything a tenant owns start with."""
    return f"tenants/{tenant}/"


def prediction_prefix(tenant: UUID | str, prediction: UUID | str) -> str:
    """What the keys of all outputs of a prediction start with, those of lost attempts included."""
    return f"tenants/{tenant}/predictions/{prediction}/"


def checked_key(key: str) -> str:
    """The key itself; no accepted key can leave a store's directory or need quoting in a URL."""
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key of a stored object")
    return key


def checked_prefix(prefix: str) -> str:
    if not PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is not a prefix of keys of stored objects")
    return prefix
