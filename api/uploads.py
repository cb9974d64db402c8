"""Pictures that come inside a request: read through once, then kept as the tenant's objects."""

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from gevent import get_hub

from fluxfarm import pictures
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.inputs import DataPicture
from fluxfarm.keys import Caller
from fluxfarm.storage import ObjectStore, input_key

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
T = TypeVar("T")


def keep(store: ObjectStore, caller: Caller, prediction: uuid.UUID, sent: DataPicture) -> str:
    """Store a sent picture and return its object key.

    Raises:
        InvalidInput: it cannot be read as a picture.
        Unavailable: the store is away.

    """
    media_type = in_thread(_checked, sent.data)
    key = input_key(caller.tenant_id, prediction, EXTENSIONS[media_type])
    in_thread(store.put, key, sent.data, media_type)
    return key


def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run what computes or writes outside the loop that serves all other requests of this process."""
    result: T = get_hub().threadpool.apply(work, arguments)
    return result


def _checked(data: bytes) -> str:
    try:
        pictures.open_picture(data).close()
        return pictures.probe(data).media_type
    except pictures.UnreadablePicture as error:
        detail = FieldError("input.image", str(error))
        raise InvalidInput(f"input.image: {error}", details=(detail,)) from None
