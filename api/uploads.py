"""Pictures that come inside a request: read through once, then kept as the tenant's objects."""

import uuid

from api.links import EXTENSIONS
from api.objects import Objects
from fluxfarm import pictures
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.inputs import DataPicture
from fluxfarm.keys import Caller
from fluxfarm.storage import input_key


def keep(objects: Objects, caller: Caller, prediction: uuid.UUID, sent: DataPicture) -> str:
    """Store a sent picture and return its object key.

    Raises:
        InvalidInput: it cannot be read as a picture.
        Unavailable: the store is away.

    """
    media_type = objects.in_thread(_checked, sent.data)
    key = input_key(caller.tenant_id, prediction, EXTENSIONS[media_type])
    objects.put(key, sent.data, media_type)
    return key


def _checked(data: bytes) -> str:
    try:
        pictures.open_picture(data).close()
        return pictures.probe(data).media_type
    except pictures.UnreadablePicture as error:
        detail = FieldError("input.image", str(error))
        raise InvalidInput(f"input.image: {error}", details=(detail,)) from None
