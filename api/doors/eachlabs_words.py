"""How the native door says things: our words into Eachlabs', a prediction into its JSON.

Shapes: the documented prediction object of Eachlabs' API, with what it lacks added beside it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from tqdm import tqdm

from api import cards, links, notices, safety
from api.doors.eachlabs_create import DIALECT
from api.pace import eta_seconds
from api.services import services
from fluxfarm import routing
from fluxfarm.catalog import Catalog, Model
from fluxfarm.errors import ObjectMissing
from fluxfarm.line import Place
from fluxfarm.lookup import PredictionView
from fluxfarm.outcomes import Safety, StoredOutput, Withheld
from fluxfarm.status import TERMINAL, Status

WORDS = {
    Status.QUEUED: "starting",
    Status.PROCESSING: "processing",
    Status.SUCCEEDED: "success",
    Status.FAILED: "error",
    Status.CANCELLED: "cancelled",
}
OF_A_FILE = (
    "url",
    "width",
    "height",
    "rendered_width",
    "rendered_height",
    "crop",
    "content_type",
    "bytes",
    "sha256",
)


def prediction(view: PredictionView) -> dict[str, Any]:
    """One prediction, as `GET /v1/prediction/<id>` answers it."""
    result = view.result
    kept = {output.position: _image(view, output) for output in view.outputs}
    held_back = {each.position: _withheld(each) for each in (result.withheld if result else ())}
    urls = [image["url"] for image in kept.values()]
    return {
        "id": str(view.shown_id),
        "model": view.model,
        "version": view.version,
        "status": WORDS[view.status],
        "canceling": view.canceling,
        "input": _input(view),
        "output": output(urls, several=len(view.plan.seeds) > 1),
        "images": [image for _, image in sorted({**kept, **held_back}.items())],
        "safety": safety.told(view.plan),
        "logs": _logs(view),
        "error": result.error_message if result else None,
        "error_code": result.error_code if result else None,
        "notices": notices.told(view),
        "made_with": result.made_with if result else None,
        "metrics": _metrics(view),
        "progress": _progress(view),
        "queue": _queue(view),
        "urls": links.prediction_links(view.shown_id, view.id),
        "created_at": moment(view.created_at),
        "started_at": moment(view.started_at),
        "completed_at": moment(view.completed_at),
        "expires_at": moment(view.expires_at),
        "cancel_at": moment(view.cancel_at),
    }


def cancelled(view: PredictionView) -> dict[str, Any]:
    """The answer to a wish to cancel: what became of it."""
    messages = {
        Status.CANCELLED: "Prediction canceled successfully",
        Status.PROCESSING: "Prediction is being canceled",
    }
    message = messages.get(view.status, "Prediction had already ended")
    told = {"status": WORDS[view.status], "canceling": view.canceling, "message": message}
    return {**told, "predictionID": str(view.shown_id)}


def model(described: Model) -> dict[str, Any]:
    """One model, as `GET /v1/model` answers it."""
    return {
        "slug": described.slug,
        "title": described.title,
        "description": described.description,
        "version": described.version,
        "output_type": "array",
        "request_schema": DIALECT.schema(described),
        "licence": described.licence,
        "licence_url": described.licence_url,
        "stand_in": described.weights.stand_in,
        "card": cards.told(described.card),
    }


def chosen_model(catalog: Catalog) -> dict[str, Any]:
    """The model that stands for whichever its input asks for; a prediction is one of that."""
    base = catalog.models[routing.BASE]
    own = {"slug": routing.AUTO, "title": routing.TITLE, "description": routing.DESCRIPTION}
    return {**model(base), **own, "request_schema": routing.schema(catalog, DIALECT.schema)}


def _input(view: PredictionView) -> dict[str, Any]:
    """As it was sent, defaults filled in; a picture sent as data is a link to what we kept of it."""
    until = view.expires_at or view.now + timedelta(seconds=links.INPUT_LINK_SECONDS)
    kept = {name: links.input_link(view, name, key, until) for name, key in view.plan.picture_keys.items()}
    return {**view.input, **kept}


def output(urls: list[str], *, several: bool) -> str | list[str] | None:
    """One link for one picture, a list of them if more were asked for."""
    if not urls:
        return None
    return urls if several else urls[0]


def _image(view: PredictionView, output: StoredOutput) -> dict[str, Any]:
    return {
        "url": _url(view, output),
        "withheld": False,
        "width": output.width,
        "height": output.height,
        "rendered_width": output.render_width,
        "rendered_height": output.render_height,
        "crop": output.crop,
        "content_type": output.media_type,
        "bytes": output.bytes,
        "sha256": output.sha256,
        "seed": output.seed,
        "safety": output.safety,
        "safety_reason": None,
        "safety_score": output.safety_score,
        "safety_checker": output.safety_checker,
    }


def _withheld(picture: Withheld) -> dict[str, Any]:
    """Nothing but what was found of it."""
    return {
        **dict.fromkeys(OF_A_FILE),
        "withheld": True,
        "seed": picture.seed,
        "safety": Safety.FLAGGED,
        "safety_reason": picture.reason,
        "safety_score": picture.score,
        "safety_checker": picture.checker,
    }


def _url(view: PredictionView, output: StoredOutput) -> str:
    assert view.expires_at is not None
    if view.input.get("output_encoding") == "data_uri":
        try:
            return services().objects.data_uri(output.object_key, output.media_type)
        except ObjectMissing:
            # The link will say that it is gone; the rest of the answer is still true.
            pass
    return links.output_link(view, output, view.expires_at)


def _logs(view: PredictionView) -> str:
    """A line for the seed and one of tqdm's per picture: clients of this field read progress out of them."""
    lines = [f"Using seed: {view.plan.seeds[0]}"]
    for output in view.outputs:
        took = output.device_microseconds / 1e6
        lines.append(str(tqdm.format_meter(output.steps, output.steps, took, ncols=80)))
    if view.progress and view.progress.steps:
        at = view.progress
        lines += [str(tqdm.format_meter(at.steps, at.steps, 0, ncols=80))] * (at.picture - 1)
        lines.append(str(tqdm.format_meter(at.step, at.steps, at.picture_seconds, ncols=80)))
    return "\n".join(lines) + "\n" if view.started_at else ""


def _metrics(view: PredictionView) -> dict[str, Any]:
    started = view.started_at or view.completed_at or view.now
    ended = view.completed_at or view.now
    device = view.result.device_microseconds / 1e6 if view.result else None
    return {
        "predict_time": seconds(ended - started) if view.started_at else 0.0,
        "queue_time": seconds(started - view.created_at),
        "total_time": seconds(ended - view.created_at),
        "device_time": device,
    }


def _progress(view: PredictionView) -> dict[str, Any]:
    pictures = len(view.plan.seeds)
    if view.status is Status.SUCCEEDED and view.outputs:
        steps = view.outputs[-1].steps
        return {"step": steps, "steps": steps, "image": pictures, "images": pictures, "stage": "done"}
    if view.progress is None:
        steps = view.plan.num_inference_steps
        return {"step": 0, "steps": steps, "image": 0, "images": pictures, "stage": WORDS[view.status]}
    at = view.progress
    steps = at.steps or view.plan.num_inference_steps
    return {"step": at.step, "steps": steps, "image": at.picture, "images": pictures, "stage": at.stage.value}


def _queue(view: PredictionView) -> dict[str, Any] | None:
    if view.status in TERMINAL:
        return None
    if view.status is Status.QUEUED:
        return standing(view.place)
    eta = eta_seconds(view)
    return {"position": 0, "eta_seconds": None if eta is None else round(eta, 1), "waiting_for": None}


def standing(place: Place | None) -> dict[str, Any]:
    """Where one waits that is queued, or would be; None where the queue could not be looked at."""
    if place is None:
        return {"position": None, "eta_seconds": None, "waiting_for": None}
    eta = place.eta_seconds
    return {
        "position": place.position,
        "eta_seconds": None if eta is None else round(eta, 1),
        "waiting_for": place.waiting_for,
    }


def seconds(span: timedelta) -> float:
    return round(max(0.0, span.total_seconds()), 3)


def moment(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None
