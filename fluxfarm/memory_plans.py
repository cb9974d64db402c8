"""How much of a device's memory each plan for it takes, reckoned from the sizes of a model's parts."""

from collections.abc import Mapping
from typing import Final

from fluxfarm.card import Card
from fluxfarm.errors import SettingsError
from fluxfarm.settings import Settings

GROUP: Final = "group"
SEQUENTIAL: Final = "sequential"
OFFLOADS: Final = ("none", "model", GROUP, SEQUENTIAL)
"""From the fastest on."""
QUANTISED_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {"fp8": (SEQUENTIAL,), "nf4": (GROUP, SEQUENTIAL)}
"""How weights in fewer bits cannot come and go."""
GIB: Final = 2**30
BYTES: Final = 2
"""Of a parameter, in bfloat16."""
WORK_GIB: Final = 3.0
"""For what lies between the layers at 1024 x 1024, most of it while the VAE decodes: an estimate."""
BLOCKS_GIB: Final = 1.6
"""Of two blocks of the transformer, what lies beside the blocks, and the VAE."""
LAYER_GIB: Final = 1.0
"""Of the layers that are there at once where they come and go one by one: an estimate."""


def device_gib(card: Card) -> Mapping[str, float]:
    """GiB of device memory to draw one picture of 1024 x 1024, by the words of `FLUXFARM_OFFLOAD`."""
    parts = [billions * 1e9 * BYTES / GIB for billions in card.parts.values()]
    return {
        "none": _rounded(sum(parts) + WORK_GIB),
        "model": _rounded(max(parts) + WORK_GIB),
        GROUP: _rounded(BLOCKS_GIB + WORK_GIB),
        SEQUENTIAL: _rounded(LAYER_GIB + WORK_GIB),
    }


def remedy(offload: str, quantise: str, vae_tiling: str) -> str:
    """The next smaller plan, for whoever ran out of memory with this one."""
    cannot = QUANTISED_WITHOUT.get(quantise, ())
    smaller = [each for each in OFFLOADS[OFFLOADS.index(offload) + 1 :] if each not in cannot]
    if smaller:
        return f"FLUXFARM_OFFLOAD={smaller[0]} needs less."
    return "FLUXFARM_VAE_TILING=on needs less." if vae_tiling != "on" else "Only smaller pictures need less."


def require(settings: Settings) -> None:
    """Raises `SettingsError` where what saves memory does not go together."""
    if settings.offload in QUANTISED_WITHOUT.get(settings.quantise, ()):
        raise SettingsError(
            f"FLUXFARM_QUANTISE={settings.quantise} does not go with FLUXFARM_OFFLOAD={settings.offload}; use "
            "FLUXFARM_OFFLOAD=model or none with it"
        )
    if settings.compile and settings.offload in (GROUP, SEQUENTIAL):
        raise SettingsError(
            f"FLUXFARM_COMPILE does not go with FLUXFARM_OFFLOAD={settings.offload}, whose layers come and go; use "
            "FLUXFARM_OFFLOAD=model or none with it"
        )


def _rounded(gib: float) -> float:
    return round(gib, 1)
