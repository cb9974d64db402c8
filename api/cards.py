"""What to know of a model, as every door that describes models tells it."""

import dataclasses
from typing import Any

from fluxfarm.card import Card
from fluxfarm.memory_plans import device_gib


def told(card: Card | None) -> dict[str, Any] | None:
    """The card with what the model takes of a device; None where none is written."""
    if card is None:
        return None
    return {**dataclasses.asdict(card), "device_memory_gib": dict(device_gib(card))}
