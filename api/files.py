"""`/files/…`: pictures through signed links. No key is asked for, and one that is sent is not looked at."""

import hashlib
import time
import uuid
from dataclasses import dataclass

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from api.bodiless import bodiless
from api.links import EXTENSIONS, row_of, signed_path
from api.services import services
from fluxfarm import lookup
from fluxfarm.errors import Forbidden, NotFound
from fluxfarm.outcomes import StoredOutput

files = Blueprint("files", __name__)

REDIRECT_SECONDS = 300
MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}


class LinkInvalid(Forbidden):
    code = "link_invalid"


@dataclass(frozen=True, slots=True)
class Served:
    """One object as it goes out; the size of an input picture is not known."""

    object_key: str
    media_type: str
    size: int | None
    etag: str
    filename: str


@files.get("/files/<uuid:prediction>/<name>")
def picture(prediction: uuid.UUID, name: str) -> Response:
    exp, sig, row = (request.args.get(each) for each in ("exp", "sig", "row"))
    if not services().signer.verify(signed_path(request.path, row), exp, sig, time.time()):
        raise LinkInvalid("The link is not valid or has expired.")
    wanted = uuid.UUID(row.partition(".")[0]) if row else prediction
    served = _find(prediction, wanted, name)
    if row and row != row_of(wanted, served.object_key):
        raise _gone()
    if link := _elsewhere(served):
        return bodiless(302, Location=link)
    response = _answer(served)
    response.set_etag(served.etag)
    disposition = "attachment" if _wants_download() else "inline"
    response.headers["Content-Disposition"] = f'{disposition}; filename="{served.filename}"'
    response.headers["Cache-Control"] = "private, max-age=3600, immutable"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _find(prediction: uuid.UUID, row: uuid.UUID, name: str) -> Served:
    stem, _, extension = name.partition(".")
    with services().database.session_scope() as session:
        if not stem.isdecimal():
            key = lookup.input_key(session, row, stem)
            if key is None or not key.endswith("." + extension):
                raise NotFound("There is no such picture, or not yet: one that was sent is shown once it was checked.")
            return Served(key, MEDIA_TYPES[extension], None, hashlib.sha256(key.encode()).hexdigest(), name)
        found = lookup.output(session, row, int(stem))
    if found is None or EXTENSIONS[found[1].media_type] != extension:
        raise _gone()
    return _output(prediction, *found, extension)


def _gone() -> NotFound:
    return NotFound("There is no such picture, or its time is over.")


def _output(prediction: uuid.UUID, model: str, output: StoredOutput, extension: str) -> Served:
    filename = f"{model}_{output.seed}_{str(prediction)[:8]}.{extension}"
    return Served(output.object_key, output.media_type, output.bytes, output.sha256, filename)


def _elsewhere(served: Served) -> str | None:
    # Common clients carry their key along when redirected, and no key may reach another host.
    if "X-API-Key" in request.headers or "Authorization" in request.headers:
        return None
    filename = served.filename if _wants_download() else None
    return services().objects.link(served.object_key, REDIRECT_SECONDS, media_type=served.media_type, filename=filename)


def _wants_download() -> bool:
    return request.args.get("download") == "1"


def _answer(served: Served) -> Response:
    """The picture, the part of it that was asked for, or word that the caller has it already."""
    if request.if_none_match.contains_weak(served.etag):
        return bodiless(304)
    start, end = _range(served)
    # A HEAD reads nothing, but must not promise what is gone.
    until = start if request.method == "HEAD" else end
    response = Response(services().objects.chunks(served.object_key, start, until), mimetype=served.media_type)
    if served.size is not None:
        response.content_length = (served.size if end is None else end) - start
        response.headers["Accept-Ranges"] = "bytes"
    if end is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{served.size}"
    return response


def _range(served: Served) -> tuple[int, int | None]:
    """The bytes asked for, half open; all of them where the range is absent, plural or of an older picture."""
    if served.size is None or request.range is None or request.range.units != "bytes" or not _range_holds(served):
        return 0, None
    if len(request.range.ranges) != 1:
        return 0, None
    start, end = request.range.ranges[0]
    if start < 0:  # counted from the end, where there may be fewer
        start = max(0, start + served.size)
    if start >= served.size:
        raise RequestedRangeNotSatisfiable(served.size)
    return start, served.size if end is None else min(end, served.size)


def _range_holds(served: Served) -> bool:
    """Whether `If-Range`, if it was sent, names what is stored."""
    condition = request.if_range
    return "If-Range" not in request.headers or condition.etag == served.etag
