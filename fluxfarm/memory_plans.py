"""How much of a device's memory each plan for it takes, reckoned from the sizes of a model's parts."""

from collections.abc import Mapping
from typing import Final

from fluxfarm.card import Card

GIB: Final = 2**30
BYTES: Final = 2
"""Of a parameter, in bfloat16."""
WORK_GIB: Final = 3.0
"""For what lies between the layers at 1024 x 1024, most of it while the VAE decodes: an estimate."""
LAYER_GIB: Final = 1.0
"""Of the layers that are there at once where they come and go one by one: an estimate."""


def device_gib(card: Card) -> Mapping[str, float]:
    """GiB of device memory to draw one picture of 1024 x 1024, by the words of `FLUXFARM_OFFLOAD`."""
    parts = [billions * 1e9 * BYTES / GIB for billions in card.parts.values()]
    return {
        "none": _rounded(sum(parts) + WORK_GIB),
        "model": _rounded(max(parts) + WORK_GIB),
        "sequential": _rounded(LAYER_GIB + WORK_GIB),
    }


def _rounded(gib: float) -> float:
    return round(gib, 1)
