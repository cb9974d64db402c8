"""Pictures that come inside a request: read through once, then kept as the tenant's objects."""

import uuid

from api.links import EXTENSIONS
from api.services import Services
from fluxfarm import pictures, sent_pictures
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.inputs import DataPicture
from fluxfarm.keys import Caller
from fluxfarm.pictures import Probed
from fluxfarm.storage import input_key


def keep(services: Services, caller: Caller, prediction: uuid.UUID, sent: DataPicture) -> str:
    """Store a sent picture and return its object key; the prediction is to follow.

    Raises:
        InvalidInput: it cannot be read as a picture.
        Unavailable: the database or the store is away.

    """
    media_type = looked_at(services, sent).media_type
    # A name of its own: two of the same create may be under way, and one of them takes its picture away again.
    key = input_key(caller.tenant_id, uuid.uuid4(), EXTENSIONS[media_type])
    with services.database.session_scope() as session:
        sent_pictures.note(session, key, prediction)
    services.objects.put(key, sent.data, media_type)
    return key


def looked_at(services: Services, sent: DataPicture) -> Probed:
    """Read a sent picture through; raises `InvalidInput` if it cannot be read as one."""
    return services.objects.in_thread(_checked, sent.data)


def _checked(data: bytes) -> Probed:
    try:
        pictures.open_picture(data).close()
        return pictures.probe(data)
    except pictures.UnreadablePicture as error:
        detail = FieldError("input.image", str(error))
        raise InvalidInput(f"input.image: {error}", details=(detail,)) from None
