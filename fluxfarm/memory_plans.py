"""How much of a device's memory each plan for it takes, reckoned from the sizes of a model's parts, and which fits.

The figures are those of `benchmarks/full_size.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from fluxfarm.card import Card
from fluxfarm.errors import SettingsError
from fluxfarm.settings import Settings

AUTO: Final = "auto"
GROUP: Final = "group"
SEQUENTIAL: Final = "sequential"
OFFLOADS: Final = ("none", "model", GROUP, SEQUENTIAL)
"""From the fastest on."""
LIBRARIES: Final = {"fp8": "torchao", "nf4": "bitsandbytes"}
"""What weights in fewer bits need."""
QUANTISED_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {"fp8": (SEQUENTIAL,), "nf4": (GROUP, SEQUENTIAL)}
"""How weights in fewer bits cannot come and go."""
COMPILED_WITHOUT: Final = (GROUP, SEQUENTIAL)

TRANSFORMER: Final = "transformer"
TEXT_ENCODERS: Final = "text_encoders"
GIB: Final = 2**30
BYTES: Final = 2.0
"""Of a parameter, in bfloat16."""
FEWER_BYTES: Final[Mapping[str, Mapping[str, float]]] = {
    "fp8": {TRANSFORMER: 1.01, TEXT_ENCODERS: 1.26},
    "nf4": {TRANSFORMER: 0.57, TEXT_ENCODERS: 0.93},
}
"""With scales, and with what stays exact."""
DECODING_GIB: Final = 1.5
"""Between the layers, most while the VAE decodes 1024 x 1024 whole."""
TILED_GIB: Final = 0.5
"""The same in tiles, and then most while a step is made."""
BESIDE_GIB: Final = 1.0
"""For workspaces, gaps between allocations and small models beside: an estimate."""
GROUP_SHARE: Final = 0.07
"""Of the transformer: two of its largest blocks, and what lies beside its blocks."""
LAYER_GIB: Final = 0.3
"""Of the largest layer."""


def parts_gib(card: Card, quantise: str = "none", text_encoders: str = "device") -> Mapping[str, float]:
    """What each part takes of the device where all are on it, by the words of the settings of these names."""
    fewer = FEWER_BYTES.get(quantise, {})
    return {
        name: billions * 1e9 * fewer.get(name, BYTES) / GIB
        for name, billions in card.parts.items()
        if name != TEXT_ENCODERS or text_encoders == "device"
    }


def needs_gib(parts: Mapping[str, float], vae_tiling: str = AUTO) -> Mapping[str, float]:
    """GiB of device memory to draw one picture of 1024 x 1024, by the words of `FLUXFARM_OFFLOAD`."""
    work = BESIDE_GIB + (TILED_GIB if vae_tiling == "on" else DECODING_GIB)
    staying = sum(gib for name, gib in parts.items() if name not in (TRANSFORMER, TEXT_ENCODERS))
    need = {
        "none": sum(parts.values()),
        "model": max(parts.values()),
        GROUP: GROUP_SHARE * parts[TRANSFORMER] + staying,
        SEQUENTIAL: LAYER_GIB,
    }
    return {name: round(gib + work, 1) for name, gib in need.items()}


def device_gib(card: Card) -> Mapping[str, float]:
    """As `needs_gib`; and with all of it on the device, by the words of `FLUXFARM_QUANTISE`."""
    fewer = {kind: needs_gib(parts_gib(card, kind))["none"] for kind in FEWER_BYTES}
    return {**needs_gib(parts_gib(card)), **fewer}


def offloads(quantise: str, *, compiled: bool) -> Sequence[str]:
    """Those that go with it, from the fastest on."""
    cannot = {*QUANTISED_WITHOUT.get(quantise, ()), *(COMPILED_WITHOUT if compiled else ())}
    return [each for each in OFFLOADS if each not in cannot]


def fitting(needs: Mapping[str, float], allowed: Sequence[str], has: float) -> str | None:
    """The fastest of the allowed plans that a device with so many GiB can hold."""
    return next((each for each in allowed if needs[each] <= has), None)


def remedy(offload: str, quantise: str, vae_tiling: str, *, compiled: bool) -> str:
    """The next smaller plan that goes with the rest, for whoever ran out of memory with this one."""
    allowed = offloads(quantise, compiled=compiled)
    smaller = [each for each in allowed if OFFLOADS.index(each) > OFFLOADS.index(offload)]
    if smaller:
        return f"FLUXFARM_OFFLOAD={smaller[0]} needs less."
    return "FLUXFARM_VAE_TILING=on needs less." if vae_tiling != "on" else "Smaller pictures need less."


def require(settings: Settings) -> None:
    """Raises `SettingsError` where what saves memory does not go together."""
    if settings.offload in QUANTISED_WITHOUT.get(settings.quantise, ()):
        raise SettingsError(
            f"FLUXFARM_QUANTISE={settings.quantise} does not go with FLUXFARM_OFFLOAD={settings.offload}; use "
            "FLUXFARM_OFFLOAD=auto, model or none with it"
        )
    if settings.compile and settings.offload in COMPILED_WITHOUT:
        raise SettingsError(
            f"FLUXFARM_COMPILE does not go with FLUXFARM_OFFLOAD={settings.offload}, whose layers come and go; use "
            "FLUXFARM_OFFLOAD=auto, model or none with it"
        )
