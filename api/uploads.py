"""Pictures that come inside a request: read through once, then kept as the tenant's objects."""

import uuid
from collections.abc import Callable, Mapping

from api.links import EXTENSIONS
from api.services import Services
from fluxfarm import pictures, sent_pictures
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.inputs import DataPicture
from fluxfarm.keys import Caller
from fluxfarm.pictures import Probed
from fluxfarm.storage import input_key


def keep(
    services: Services,
    caller: Caller,
    prediction: uuid.UUID,
    pictures: Mapping[str, str | DataPicture],
    called: Callable[[str], str],
) -> dict[str, str]:
    """Store the pictures that came as data and return their object keys; the prediction is to follow.

    `called` gives the name by which a refusal calls a field.

    Raises:
        InvalidInput: one cannot be read as a picture; none is stored.
        Unavailable: the database or the store is away.

    """
    sent = {name: each for name, each in pictures.items() if isinstance(each, DataPicture)}
    types = {name: looked_at(services, called(name), each).media_type for name, each in sent.items()}
    # Names of their own: two of the same create may be under way, and one of them takes its pictures away again.
    keys = {name: input_key(caller.tenant_id, uuid.uuid4(), EXTENSIONS[types[name]]) for name in sent}
    if not keys:
        return {}
    with services.database.session_scope() as session:
        for key in keys.values():
            sent_pictures.note(session, key, prediction)
    for name, key in keys.items():
        services.objects.put(key, sent[name].data, types[name])
    return keys


def looked_at(services: Services, field: str, sent: DataPicture) -> Probed:
    """Read a sent picture through; raises `InvalidInput` if it cannot be read as one."""
    return services.objects.in_thread(_checked, field, sent.data)


def _checked(field: str, data: bytes) -> Probed:
    try:
        pictures.open_picture(data).close()
        return pictures.probe(data)
    except pictures.UnreadablePicture as error:
        raise InvalidInput(f"{field}: {error}", details=(FieldError(field, str(error)),)) from None
