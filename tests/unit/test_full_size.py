"""What cards and plans for memory say of FLUX.1's size, beside its architecture at full size, without weights."""

import pytest
import torch

from benchmarks.full_size import PARTS, on_meta, parameters
from fluxfarm.catalog import load_catalog
from fluxfarm.memory_plans import FEWER_BYTES, GROUP_SHARE
from fluxfarm.settings import Settings
from worker.pipelines.quantising import EXACT, KEPT

BITS = {"fp8": 8.0, "nf4": 4.5}
"""Of a quantised parameter with its share of a scale."""
MODELS = load_catalog(Settings()).models.values()


@pytest.fixture(scope="module")
def parts() -> dict[str, torch.nn.Module]:
    return {name: on_meta(name) for name in PARTS}


def test_cards_tell_the_size_of_each_part(parts: dict[str, torch.nn.Module]) -> None:
    told = [(model.slug, name, size) for model in MODELS if model.card for name, size in model.card.parts.items()]
    assert {name for _, name, _ in told} == set(PARTS)
    for slug, name, billions in told:
        assert billions == pytest.approx(parameters(parts[name]) / 1e9, abs=0.0006), (slug, name)


@pytest.mark.parametrize("part", ["transformer", "text_encoders"])
@pytest.mark.parametrize("kind", BITS)
def test_what_fewer_bits_take_counts_what_stays_exact(kind: str, part: str, parts: dict[str, torch.nn.Module]) -> None:
    whole = parts[part]
    encoders = [*whole.children()][1:] if part == "text_encoders" else [whole]
    small = sum(
        layer.weight.numel()
        for each in encoders
        for name, layer in each.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.split(".")[0] not in EXACT and name.split(".")[-1] != KEPT
    )
    each = (small * BITS[kind] / 8 + (parameters(whole) - small) * 2) / parameters(whole)
    assert FEWER_BYTES[kind][part] == pytest.approx(each, rel=0.01)


def test_a_group_is_two_blocks_and_what_lies_beside_them(parts: dict[str, torch.nn.Module]) -> None:
    transformer = parts["transformer"]
    blocks = [
        block for name in ("transformer_blocks", "single_transformer_blocks") for block in getattr(transformer, name)
    ]
    sizes = [parameters(block) for block in blocks]
    beside = parameters(transformer) - sum(sizes)
    assert (2 * max(sizes) + beside) / parameters(transformer) == pytest.approx(GROUP_SHARE, abs=0.01)
