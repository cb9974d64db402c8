"""Weights in fewer bits, over small weights and on the CPU: real torchao, real bitsandbytes."""

import importlib

import numpy as np
import pytest
import torch

from fluxfarm.errors import SettingsError, WorkerFault
from fluxfarm.memory_plans import require
from fluxfarm.settings import Settings
from tests.integration.test_kinds import PROMPT, drawn, model, scene
from tests.integration.test_loras import TINY, made
from tests.loras import lora
from worker.pipelines import DeviceOptions, Pipeline, load, quantising

BYTES = {"fp8": 1.0, "nf4": 0.5}
"""Of a parameter."""


@pytest.fixture(scope="module", params=BYTES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def small(kind: str) -> Pipeline:
    return load(model("flux-dev"), DeviceOptions(quantise=kind))


@pytest.fixture(scope="module")
def full() -> Pipeline:
    return load(model("flux-dev"), DeviceOptions())


def part(pipeline: Pipeline, name: str) -> torch.nn.Module:
    return pipeline._loaded.pipe.get_parameter(name) if "." in name else getattr(pipeline._loaded.pipe, name)  # type: ignore[attr-defined]


def held(layer: torch.nn.Linear) -> int:
    """Bytes of a layer's weight, without scales."""
    weight = layer.weight
    return (weight.qdata if hasattr(weight, "qdata") else weight).nbytes


def test_the_large_layers_take_less_memory_and_the_ends_stay_exact(kind: str, small: Pipeline, full: Pipeline) -> None:
    for name, layer in (
        ("transformer", "transformer_blocks.0.attn.to_q"),
        ("text_encoder_2", "encoder.block.0.layer.0.SelfAttention.q"),
    ):
        one, other = (part(each, name).get_submodule(layer) for each in (small, full))
        assert held(one) == other.weight.numel() * BYTES[kind]  # type: ignore[arg-type, operator]
    for name, layer in (("transformer", "proj_out"), ("text_encoder_2", "encoder.block.0.layer.1.DenseReluDense.wo")):
        one, other = (part(each, name).get_submodule(layer) for each in (small, full))
        assert torch.equal(one.weight, other.weight)  # type: ignore[arg-type]


def test_no_layer_makes_nan_of_numbers(small: Pipeline) -> None:
    for name, layer in part(small, "transformer").named_modules():
        if isinstance(layer, torch.nn.Linear):
            assert torch.isfinite(layer(torch.ones(1, layer.in_features))).all(), name


def test_it_draws_nearly_the_same_and_says_what_with(kind: str, small: Pipeline, full: Pipeline) -> None:
    one, exact, unlike = drawn(small), drawn(full), drawn(full, prompt="a yellow star on black")
    off, far = (float(np.abs(each.astype(float) - exact).mean()) for each in (one, unlike))
    assert 0 < off < far / 3
    assert small.made_with["quantised"].startswith(f"{kind}, ")
    assert full.made_with["quantised"] == "none"


def test_models_that_share_weights_share_them_in_fewer_bits(kind: str, small: Pipeline) -> None:
    sharing = load(model("flux-krea-dev"), DeviceOptions(quantise=kind))
    assert part(sharing, "transformer") is part(small, "transformer")
    assert np.array_equal(drawn(sharing), drawn(small))


def test_loras_go_over_them_and_leave_nothing_behind(small: Pipeline) -> None:
    before, asked = drawn(small), made(lora(TINY))
    worn = drawn(small, loras=(asked,))
    assert not np.array_equal(worn, before)
    assert np.array_equal(drawn(small, loras=(asked,)), worn)
    assert np.array_equal(drawn(small), before)


@pytest.mark.parametrize("slug", ["flux-canny-dev", "flux-fill-dev", "flux-kontext-dev", "flux-redux-dev"])
def test_every_kind_draws_with_them(kind: str, slug: str) -> None:
    asked = {
        "flux-canny-dev": {"control": scene()},
        "flux-fill-dev": {"image": scene(), "mask": scene().convert("L")},
        "flux-kontext-dev": {"before": scene()},
        "flux-redux-dev": {"likeness": scene()},
    }[slug]
    exact, one = (drawn(load(model(slug), DeviceOptions(quantise=each)), **asked) for each in ("none", kind))
    assert 0 < float(np.abs(one.astype(float) - exact).mean()) < 20


def test_text_encoders_apart_stay_exact(kind: str) -> None:
    apart = load(model("flux-dev"), DeviceOptions(quantise=kind, text_encoders="cpu"))
    exact = load(model("flux-dev"), DeviceOptions())
    one, other = (each._encode(PROMPT)[0] for each in (apart, exact))  # type: ignore[attr-defined]
    assert torch.equal(one, other)


def test_a_library_that_is_missing_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(WorkerFault, match=rf"FLUXFARM_QUANTISE={kind} needs \w+: pip install .*quantised"):
        quantising._converter(kind)


@pytest.mark.parametrize(("kind", "offload"), [("fp8", "sequential"), ("nf4", "group"), ("nf4", "sequential")])
def test_what_cannot_come_and_go_is_refused_at_the_start(kind: str, offload: str) -> None:
    require(Settings(quantise=kind, offload="model"))
    with pytest.raises(SettingsError, match=f"{kind} does not go with FLUXFARM_OFFLOAD={offload}"):
        require(Settings(quantise=kind, offload=offload))
    assert offload not in DeviceOptions(offload="model", quantise=kind).remedy
