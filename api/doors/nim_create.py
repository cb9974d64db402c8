"""How NVIDIA's door reads a create: the mode chooses the model, and some pictures are ours and asked for by number."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from api import asked
from api.asked import Asked
from api.doors.nim_words import DIALECT
from api.services import services
from fluxfarm.catalog import Catalog, Model
from fluxfarm.errors import FieldError, ModelNotFound
from fluxfarm.fields import Choice, Field, RefusedError
from fluxfarm.keys import Caller
from fluxfarm.kinds import Control, Kind
from fluxfarm.sent import shortened

MODE: Final = Field("mode", Choice(("base", "canny", "depth")), "What the picture follows beside words.", "base")
OF_MODE: Final = {"canny": "flux-canny-dev", "depth": "flux-depth-dev"}
"""The models that stand for a mode of FLUX.1 [dev]; `base` is itself."""
ASKED: Final = "\x1fmodel"
"""Where the name stands that came in the path, so that no create is taken for one of another model."""
BASE: Final = "black-forest-labs/flux.1-dev"

EXAMPLES: Final = Path(__file__).parent / "examples"
EXAMPLE: Final = re.compile(r"data:image/png;example_id,([0-3])")
OFFERED: Final = (Kind.TEXT, Kind.CONTROL)
IN_BASE: Final = 'goes with mode canny or depth; leave it out, or send ""'


def read(caller: Caller, sent: Mapping[str, Any], found_wrong: Sequence[FieldError]) -> list[Asked]:
    """What a body asks for, of the model that is named in it; raises as `asked.read` does."""
    body, wrong = dict(sent), [*found_wrong]
    name = body.pop(ASKED)
    model = services().catalog.model(name)
    mode = _mode(body, wrong)
    if OF_MODE.get(mode, model.slug) != model.slug:
        model = _in_mode(model, mode, wrong)
    if model.kind not in OFFERED:
        raise ModelNotFound(f"There is no model {name!r} at this door; ask for it at another.")
    if model.kind is Kind.TEXT:
        _leave_out_pictures(body, wrong)
    return [asked.read(caller, model.slug, _fields(model, body, wrong), DIALECT, wrong)]


def offered(catalog: Catalog) -> list[Model]:
    """The models of this door."""
    return [model for model in catalog.models.values() if model.kind in OFFERED]


def schema(model: Model) -> dict[str, Any]:
    """JSON Schema of a whole body."""
    whole = DIALECT.schema(model)
    return {**whole, "properties": {**whole["properties"], "mode": MODE.schema()}}


def _mode(body: dict[str, Any], wrong: list[FieldError]) -> str:
    sent = body.pop("mode", None)
    try:
        return str(MODE.read(sent or None))
    except RefusedError as refusal:
        wrong.append(FieldError("mode", str(refusal), shortened(sent)))
        return "base"


def _in_mode(model: Model, mode: str, wrong: list[FieldError]) -> Model:
    """The one that stands for a mode of FLUX.1 [dev]; others have no modes but their own."""
    catalog = services().catalog
    if model.slug == catalog.model(BASE).slug:
        return catalog.model(OF_MODE[mode])
    wrong.append(FieldError("mode", f"must be base for {model.slug}", mode))
    return model


def _leave_out_pictures(body: dict[str, Any], wrong: list[FieldError]) -> None:
    """Programs send the fields of all modes at once, and leave blank what they do not mean."""
    picture, found = body.pop("image", None), body.pop("preprocess_image", None)
    if picture not in (None, ""):
        wrong.append(FieldError("image", IN_BASE, shortened(picture)))
    if not isinstance(found, bool | None):
        wrong.append(FieldError("preprocess_image", "must be true or false, or left out", shortened(found)))


def _fields(model: Model, body: dict[str, Any], wrong: list[FieldError]) -> dict[str, Any]:
    """In the words of the dialect, with the example picture that was asked for."""
    picture = body.get("image")
    if isinstance(picture, str) and (example := EXAMPLE.fullmatch(picture[:100])):
        body["image"] = _example(example[1], depth=model.control is Control.DEPTH and not _finds_depth(model, body))
    texts = body.pop("text_prompts", None)
    if texts is not None and body.get("prompt") is None:
        body["prompt"] = _joined(texts, wrong)
    return body


def _finds_depth(model: Model, body: Mapping[str, Any]) -> bool:
    said = body.get("preprocess_image")
    return model.finds_control if said is None else bool(said)


def _example(number: str, *, depth: bool) -> str:
    """A picture of ours as a data URI, or its depth for who does not find that."""
    data = (EXAMPLES / f"{number}{'.depth' if depth else ''}.png").read_bytes()
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _joined(sent: Any, wrong: list[FieldError]) -> str | None:
    """The older way to send a prompt: a list of texts."""
    if isinstance(sent, list) and all(map(_is_text, sent)):
        return ", ".join(each["text"] for each in sent)
    message = "must be a list of objects with text, and weight 1 if any; send prompt instead"
    wrong.append(FieldError("text_prompts", message, shortened(sent)))
    return None


def _is_text(sent: Any) -> bool:
    """Other weights mean less of it, or none: to draw it all the same would be the contrary of what was asked."""
    return isinstance(sent, dict) and isinstance(sent.get("text"), str) and sent.get("weight") in (None, 1)
