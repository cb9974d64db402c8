"""The farm in numbers, in the text form that Prometheus reads."""

from collections.abc import Iterable, Mapping
from typing import Final

from flask import Response

from api.services import services
from fluxfarm.moderation import Count

TYPE: Final = "text/plain; version=0.0.4"


def answer(*parts: Iterable[str]) -> Response:
    return Response("".join(line for part in parts for line in part), content_type=TYPE)


def busy(workers: Mapping[str, int], queues: Mapping[str, tuple[int, int]]) -> Iterable[str]:
    """Live workers, and predictions that wait or are rendered, of each model."""
    slugs = services().catalog.models
    yield from _head("fluxfarm_workers", "Worker processes that take work.")
    yield from (f'fluxfarm_workers{{model="{slug}"}} {workers.get(slug, 0)}\n' for slug in slugs)
    yield from _head("fluxfarm_predictions", "Predictions that have not ended.")
    for slug in slugs:
        queued, processing = queues.get(slug, (0, 0))
        yield f'fluxfarm_predictions{{model="{slug}",status="queued"}} {queued}\n'
        yield f'fluxfarm_predictions{{model="{slug}",status="processing"}} {processing}\n'


def moderated(counts: Iterable[Count]) -> Iterable[str]:
    """What safety checks decided within the last hour."""
    name = "fluxfarm_moderation_last_hour"
    yield from _head(name, "Decisions of safety checks within the last hour.")
    for each in counts:
        labels = f'model="{each.model}",stage="{each.stage}",verdict="{each.verdict}",withheld="{each.withheld}"'
        yield f"{name}{{{labels.lower()}}} {each.number}\n"


def _head(name: str, meaning: str) -> Iterable[str]:
    yield f"# HELP {name} {meaning}\n# TYPE {name} gauge\n"
