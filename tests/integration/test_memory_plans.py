"""What saves a device's memory draws the same pictures: over small weights, with the CPU in the device's place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.hooks import HookRegistry

from fluxfarm.errors import SettingsError, WorkerFault
from fluxfarm.memory_plans import OFFLOADS, require
from fluxfarm.settings import Settings
from tests.integration.test_kinds import drawn, half_mask, model, scene
from tests.integration.test_loras import TINY, made
from tests.loras import lora
from worker.pipelines import DeviceOptions, Pipeline, flux_weights, load, placing, tiling
from worker.pipelines.tiling import tile_side

KINDS = {
    "flux-dev": {"image": scene(), "prompt_strength": 0.7, "negative_prompt": "blue", "true_cfg_scale": 2.0},
    "flux-canny-dev": {"control": scene()},
    "flux-fill-dev": {"image": scene(), "mask": half_mask()},
    "flux-kontext-dev": {"before": scene()},
    "flux-redux-dev": {"likeness": scene()},
}


@pytest.fixture
def cpu_as_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Offload to the CPU from the CPU: no memory is saved, but all that moves weights runs."""
    monkeypatch.setattr(flux_weights, "choose_device", lambda _options: torch.device("cpu"))
    flux_weights._loaded.cache_clear()
    yield
    flux_weights._loaded.cache_clear()


@pytest.mark.parametrize("slug", KINDS)
def test_text_encoders_that_lie_apart_change_nothing(slug: str) -> None:
    together, apart = (load(model(slug), DeviceOptions(text_encoders=where)) for where in ("device", "cpu"))
    assert apart._loaded.pipe.text_encoder is None  # type: ignore[attr-defined]
    assert apart._loaded.pipe.text_encoder_2 is None  # type: ignore[attr-defined]
    asked = {**KINDS[slug], "steps": 2}
    assert np.array_equal(drawn(apart, **asked), drawn(together, **asked))
    assert (together.made_with["text_encoders"], apart.made_with["text_encoders"]) == ("device", "cpu")


@pytest.mark.usefixtures("cpu_as_device")
@pytest.mark.parametrize("where", ["device", "cpu"])
def test_blocks_that_come_and_go_draw_the_same_with_and_without_loras(where: str) -> None:
    plain = load(model("flux-dev"), DeviceOptions())
    groups = load(model("flux-dev"), DeviceOptions(offload="group", text_encoders=where))
    assert blocks_that_move(groups)
    worn = {"loras": (made(lora(TINY)),)}
    for asked in ({}, worn, {"image": scene(), "prompt_strength": 0.7}):
        assert np.array_equal(drawn(groups, **asked), drawn(plain, **asked))
    assert blocks_that_move(groups)


def blocks_that_move(pipeline: Pipeline) -> bool:
    transformer = pipeline._loaded.pipe.transformer  # type: ignore[attr-defined]
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    hooks = [HookRegistry.check_if_exists_or_initialize(block).hooks for block in blocks]
    return all("group_offloading" in each for each in hooks)


@pytest.mark.parametrize(
    ("free", "options", "offload"),
    [
        (80, {}, "none"),
        (32, {}, "model"),
        (8, {}, "group"),
        (4, {}, "sequential"),
        (1, {}, "sequential"),
        (4, {"quantise": "fp8"}, "group"),
        (4, {"quantise": "nf4"}, "model"),
        (8, {"compile": True}, "model"),
        (33, {"vae_tiling": "on"}, "none"),
    ],
)
def test_auto_takes_the_fastest_plan_that_fits(
    free: float, options: dict[str, Any], offload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "_parts", lambda _pipe: {"transformer": 22.17, "text_encoders": 9.1, "vae": 0.16})
    assert placing.fitted(None, DeviceOptions(**options), free).offload == offload


def test_auto_goes_by_what_the_weights_really_take() -> None:
    held = {
        kind: placing._parts(load(model("flux-dev"), DeviceOptions(quantise=kind))._loaded.pipe)  # type: ignore[attr-defined]
        for kind in ("none", "fp8", "nf4")
    }
    assert held["nf4"]["transformer"] < held["fp8"]["transformer"] < 0.6 * held["none"]["transformer"]
    assert held["nf4"]["vae"] == held["none"]["vae"]
    apart = load(model("flux-dev"), DeviceOptions(text_encoders="cpu"))._loaded  # type: ignore[attr-defined]
    assert placing._parts(apart.pipe)["text_encoders"] == 0
    assert apart.options.offload == "none"


@pytest.mark.parametrize("offload", OFFLOADS[1:])
def test_what_only_an_nvidia_device_can_do_says_so(offload: str) -> None:
    with pytest.raises(WorkerFault, match=f"FLUXFARM_OFFLOAD={offload} needs an NVIDIA device"):
        load(model("flux-dev"), DeviceOptions(offload=offload))


@pytest.mark.parametrize(
    ("word", "size", "side"),
    [
        ("auto", (1024, 1024), None),
        ("auto", (1360, 768), None),
        ("auto", (2048, 2048), 1024),
        ("on", (64, 64), 512),
        ("off", (4096, 4096), None),
    ],
)
def test_only_large_pictures_are_tiled_unless_told(word: str, size: tuple[int, int], side: int | None) -> None:
    assert tile_side(word, *size) == side


def test_tiles_draw_nearly_the_same() -> None:
    whole, tiled = (load(model("flux-dev"), DeviceOptions(vae_tiling=word)) for word in ("off", "on"))
    asked = {"width": 768, "height": 512, "steps": 1}
    one, other = (drawn(each, **asked).astype(float) for each in (whole, tiled))
    assert 0 < np.abs(one - other).mean() < 3
    assert np.array_equal(drawn(whole), drawn(tiled))


def test_a_large_picture_leaves_no_tiles_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load(model("flux-dev"), DeviceOptions())
    before = drawn(pipeline, width=768, steps=1)
    with monkeypatch.context() as smaller:
        smaller.setattr(tiling, "LARGE", 0)
        smaller.setattr(tiling, "LARGE_TILE", 512)
        assert not np.array_equal(drawn(pipeline, width=768, steps=1), before)
    assert np.array_equal(drawn(pipeline, width=768, steps=1), before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (DeviceOptions(offload="none"), "OFFLOAD=model"),
        (DeviceOptions(offload="model"), "OFFLOAD=group"),
        (DeviceOptions(offload="group"), "OFFLOAD=sequential"),
        (DeviceOptions(offload="sequential"), "VAE_TILING=on"),
        (DeviceOptions(offload="sequential", vae_tiling="on"), "Smaller pictures"),
        (DeviceOptions(offload="model", quantise="nf4"), "VAE_TILING=on"),
        (DeviceOptions(offload="none", compile=True), "OFFLOAD=model"),
        (DeviceOptions(offload="model", compile=True), "VAE_TILING=on"),
    ],
)
def test_who_runs_out_of_memory_hears_of_the_next_smaller_plan(options: DeviceOptions, said: str) -> None:
    assert said in options.remedy


def test_a_render_that_runs_out_of_memory_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load(model("flux-dev"), DeviceOptions())

    def full(*_given: object, **_named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pipeline._kind, "latents", full)  # type: ignore[attr-defined]
    with pytest.raises(WorkerFault, match=r"out of memory\. FLUXFARM_OFFLOAD=model needs less"):
        drawn(pipeline)


@pytest.mark.parametrize("offload", ["group", "sequential"])
def test_what_does_not_go_together_is_refused_at_the_start(offload: str) -> None:
    require(Settings(offload="model", compile=True))
    with pytest.raises(SettingsError, match=f"does not go with FLUXFARM_OFFLOAD={offload}"):
        require(Settings(offload=offload, compile=True))
