"""`?dry_run=1`: what a create would be, without one."""

from typing import Any

from api import notices, safety, uploads
from api.asked import Asked
from api.doors import eachlabs_words as words
from api.doors.eachlabs_create import DIALECT
from api.services import services
from fluxfarm import lookup
from fluxfarm.inputs import DataPicture
from fluxfarm.kinds import SOURCES
from fluxfarm.plans import Plan
from fluxfarm.sizes import Size, matching, render_size


def told(asked: Asked) -> dict[str, Any]:
    """The answer."""
    model, (plan, size) = asked.model, _plan(asked)
    pixel_steps = plan.pixel_steps(model)
    with services().database.read_scope() as connection:
        rate = lookup.measured_rate(connection, model.slug)
    seconds = pixel_steps * (model.pixel_step_microseconds if rate is None else rate) / 1e6
    line = services().lines.of(model.slug, model.version)
    width, height, rendered_width, rendered_height = _sides(size, asked)
    return {
        "status": "success",
        "message": "Valid; nothing was created",
        "dry_run": True,
        "model": model.slug,
        "version": model.version,
        "input": asked.order.echo,
        "seeds": list(plan.seeds),
        "seed_drawn": asked.order.seed is None,
        "width": width,
        "height": height,
        "rendered_width": rendered_width,
        "rendered_height": rendered_height,
        "safety": safety.foretold(plan, model),
        "pixel_steps": round(pixel_steps),
        "estimated_seconds": round(seconds, 3),
        "queue": words.standing(line.end(seconds) if line else None),
        "notices": notices.foretold(plan, model),
    }


def _plan(asked: Asked) -> tuple[Plan, Size | None]:
    """As a create would make it, but that pictures in the request are looked at, not kept; and the size, if known."""
    sent = {name: each for name, each in asked.order.pictures.items() if isinstance(each, DataPicture)}
    found = {name: uploads.looked_at(services(), DIALECT.called(name), each) for name, each in sent.items()}
    kept = dict.fromkeys(found, "not kept")
    plan = Plan.of(asked.order, kept=kept, ruling=asked.ruling, test_outcome=asked.test_outcome)
    source = found.get(SOURCES[asked.model.kind] or "")
    if asked.order.size is not None or source is None:
        return plan, asked.order.size
    return plan, matching(plan.canvas(Size(source.width, source.height)), plan.megapixels)


def _sides(size: Size | None, asked: Asked) -> tuple[int, int, int, int] | tuple[None, None, None, None]:
    """Of the file, and of what is rendered; none where they follow a picture that is somewhere else."""
    if size is None:
        return None, None, None, None
    weights = asked.model.weights
    drawn = render_size(size, weights.native_side) if weights.stand_in else size
    kept = size if services().settings.enlarge_stand_ins else drawn
    return kept.width, kept.height, drawn.width, drawn.height
