"""Every kind of pipeline over small weights: what it draws is what diffusers draws, and it means what it says."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from fluxfarm.catalog import Model, load_catalog, stand_ins
from fluxfarm.errors import WorkerFault
from fluxfarm.kinds import Control
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from tests.loras import lora
from worker.pipelines import DeviceOptions, Lora, Pipeline, Pixels, RenderOrder, load
from worker.pipelines.depth import DepthEstimator
from worker.pipelines.edges import edges

SIDE = 64
TOGETHER = {"width": SIDE, "height": SIDE, "num_inference_steps": 4, "max_sequence_length": 64}
PROMPT = "a red circle on a blue background"


class Watch:
    def stage(self, stage: Stage) -> None:
        pass

    def step(self, picture: int, step: int, steps: int) -> None:
        pass

    def wants_preview(self) -> bool:
        return False

    def preview(self, draw: Callable[[], Pixels]) -> None:
        pass


def model(slug: str) -> Model:
    known = stand_ins(Settings())
    return load_catalog(Settings(models=tuple(known), weights=tuple(known.items()))).model(slug)


@pytest.fixture(scope="module")
def text() -> Pipeline:
    return load(model("flux-dev"), DeviceOptions())


@pytest.fixture(scope="module")
def control() -> Pipeline:
    return load(model("flux-canny-dev"), DeviceOptions())


@pytest.fixture(scope="module")
def fill() -> Pipeline:
    return load(model("flux-fill-dev"), DeviceOptions())


def drawn(pipeline: Pipeline, **changes: Any) -> Pixels:
    usual = RenderOrder(prompt=PROMPT, seeds=(7,), width=SIDE, height=SIDE, steps=4, guidance=3.5)
    (found,) = pipeline.render(dataclasses.replace(usual, **changes), Watch())
    return found.pixels


def plain(kind: Any, slug: str, **arguments: Any) -> Pixels:
    """What diffusers' own pipeline draws from the same directory."""
    pipe = kind.from_pretrained(model(slug).weights.source)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    return np.asarray(pipe(PROMPT, generator=generator, **{**TOGETHER, **arguments}).images[0])


def scene(colour: str = "green", background: str = "yellow") -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), background)
    ImageDraw.Draw(picture).rectangle((16, 16, 47, 47), fill=colour)
    return picture


def half_mask() -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (SIDE // 2, 0, SIDE, SIDE))
    return mask


def test_a_negative_prompt_draws_what_diffusers_draws(text: Pipeline) -> None:
    found = drawn(text, negative_prompt="a blue background", true_cfg_scale=3.0)
    arguments = {"negative_prompt": "a blue background", "true_cfg_scale": 3.0, "guidance_scale": 3.5}
    assert np.array_equal(found, plain(diffusers.FluxPipeline, "flux-dev", **arguments))
    assert not np.array_equal(found, drawn(text))
    assert np.array_equal(drawn(text, negative_prompt="a blue background", true_cfg_scale=1.0), drawn(text))


def test_inpainting_repaints_the_mask_and_nothing_else(text: Pipeline) -> None:
    found = drawn(text, image=scene(), mask=half_mask(), prompt_strength=0.9)
    assert np.array_equal(found[:, : SIDE // 2], np.asarray(scene())[:, : SIDE // 2])
    assert np.abs(found[:, SIDE // 2 :].astype(float) - np.asarray(scene())[:, SIDE // 2 :]).mean() > 20


def test_inpainting_draws_what_diffusers_draws(text: Pipeline) -> None:
    found = drawn(text, image=scene(), mask=half_mask(), prompt_strength=0.9)
    arguments = {"image": scene(), "mask_image": half_mask(), "strength": 0.9, "guidance_scale": 3.5}
    expected = plain(diffusers.FluxInpaintPipeline, "flux-dev", **arguments)
    assert np.array_equal(found[:, SIDE // 2 :], expected[:, SIDE // 2 :])


def test_edges_are_found_and_followed_as_diffusers_follows_them(control: Pipeline) -> None:
    found = drawn(control, control=scene(), find=Control.CANNY, guidance=30.0)
    expected = plain(
        diffusers.FluxControlPipeline, "flux-canny-dev", control_image=edges(scene(), 3), guidance_scale=30.0
    )
    assert np.array_equal(found, expected)
    assert np.array_equal(found, drawn(control, control=edges(scene(), 3), guidance=30.0))


def test_a_depth_is_found_and_followed_as_diffusers_follows_it() -> None:
    follower = load(model("flux-depth-dev"), DeviceOptions())
    found = drawn(follower, control=scene(), find=Control.DEPTH, guidance=10.0)
    near = DepthEstimator.load(str(model("flux-depth-dev").weights.depth_source), torch.device("cpu")).depth(scene())
    levels = np.asarray(near.convert("L"))
    assert levels[22:42, 22:42].min() > 128
    assert levels[:8].max() < 64
    expected = plain(diffusers.FluxControlPipeline, "flux-depth-dev", control_image=near, guidance_scale=10.0)
    assert np.array_equal(found, expected)


def test_an_outline_is_kept(control: Pipeline) -> None:
    found = drawn(control, prompt="a green square on a yellow background", control=scene("white", "black"),
                  find=Control.CANNY, guidance=30.0, steps=12).astype(float)  # fmt: skip
    inside, outside = found[22:42, 22:42].mean(axis=(0, 1)), found[:8].mean(axis=(0, 1))
    assert np.abs(inside - outside).max() > 60
    edge = np.abs(found[32, 10:22].max(axis=0) - found[32, 10:22].min(axis=0)).max()
    assert edge > 60, "the left side of the square is not where it was given"


def test_filling_draws_what_diffusers_draws_and_keeps_the_rest(fill: Pipeline) -> None:
    found = drawn(fill, image=scene(), mask=half_mask(), guidance=30.0)
    arguments = {"image": scene(), "mask_image": half_mask(), "guidance_scale": 30.0}
    expected = plain(diffusers.FluxFillPipeline, "flux-fill-dev", **arguments)
    assert np.array_equal(found[:, SIDE // 2 :], expected[:, SIDE // 2 :])
    assert np.array_equal(found[:, : SIDE // 2], np.asarray(scene())[:, : SIDE // 2])


def test_models_of_the_same_weights_share_them() -> None:
    one, other = (load(model(slug), DeviceOptions()) for slug in ("flux-dev", "flux-krea-dev"))
    assert one._pipe is other._pipe  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def kontext() -> Pipeline:
    return load(model("flux-kontext-dev"), DeviceOptions())


@pytest.fixture(scope="module")
def redux() -> Pipeline:
    return load(model("flux-redux-dev"), DeviceOptions())


def base_pipe(kind: Any, **parts: Any) -> Any:
    pipe = kind.from_pretrained(model("flux-dev").weights.source, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize(("width", "height"), [(SIDE, SIDE), (80, 48)], ids=["its own", "another"])
def test_a_change_draws_what_diffusers_draws_at_any_shape(kontext: Pipeline, width: int, height: int) -> None:
    size = {"width": width, "height": height}
    found = drawn(kontext, prompt="make the square red", before=scene(), guidance=2.5, **size)
    transformer = diffusers.FluxTransformer2DModel.from_pretrained(
        model("flux-kontext-dev").weights.source, subfolder="transformer"
    )
    pipe = base_pipe(diffusers.FluxKontextPipeline, transformer=transformer)
    expected = pipe(
        prompt="make the square red", image=scene(), guidance_scale=2.5, generator=torch.Generator().manual_seed(7),
        _auto_resize=False, max_area=width * height, **{**TOGETHER, **size},
    )  # fmt: skip
    assert np.array_equal(found, np.asarray(expected.images[0]))


@pytest.mark.parametrize("prompt", ["", PROMPT])
def test_a_remix_draws_what_diffusers_draws(redux: Pipeline, prompt: str) -> None:
    found = drawn(redux, prompt=prompt, likeness=scene())
    pipe = base_pipe(diffusers.FluxPipeline)
    names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    encoders = {name: getattr(pipe, name) for name in names}
    source = model("flux-redux-dev").weights.source
    prior = diffusers.FluxPriorReduxPipeline.from_pretrained(source, torch_dtype=torch.float32, **encoders)
    told = prior(scene(), prompt=prompt, pooled_prompt_embeds_scale=float(bool(prompt)))
    generator = torch.Generator().manual_seed(7)
    sides = {"width": SIDE, "height": SIDE, "num_inference_steps": 4}
    expected = pipe(guidance_scale=3.5, generator=generator, **told, **sides).images[0]
    assert np.array_equal(found, np.asarray(expected))


def test_a_remix_heeds_its_picture_as_much_as_it_is_told(redux: Pipeline) -> None:
    full, little = (drawn(redux, prompt="", likeness=scene(), redux_strength=strength) for strength in (1.0, 0.2))
    assert np.array_equal(drawn(redux, prompt="", likeness=scene()), full)
    assert not np.array_equal(little, full)


def test_what_lies_over_a_base_shares_the_rest_of_it(kontext: Pipeline, redux: Pipeline, text: Pipeline) -> None:
    assert redux._pipe is text._pipe  # type: ignore[attr-defined]
    assert kontext._pipe.transformer is not text._pipe.transformer  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("image_encoder", {"num_hidden_layers": 9}, "image_encoder lacks"),
        ("image_embedder", {"redux_dim": 99}, "cannot be loaded"),
    ],
)
def test_a_remixer_that_is_not_whole_is_refused(tmp_path: Path, part: str, changes: dict[str, int], said: str) -> None:
    shutil.copytree(model("flux-redux-dev").weights.source, tmp_path / "redux")
    config = tmp_path / "redux" / part / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    catalogue = tmp_path / "catalog.toml"
    catalogue.write_text(
        '[weights.broken]\nlocation = "./redux"\nbase = "flux-tiny"\nlicence = "apache-2.0"\nnative_side = 64\n'
    )
    chosen = Settings(catalog=catalogue, models=("flux-redux-dev",), weights=(("flux-redux-dev", "broken"),))
    with pytest.raises(WorkerFault, match=said):
        load(load_catalog(chosen).model("flux-redux-dev"), DeviceOptions())


@pytest.mark.parametrize("mask", [None, half_mask()], ids=["all of it", "a part"])
def test_a_negative_prompt_counts_with_a_picture_too(text: Pipeline, mask: Image.Image | None) -> None:
    away = {"negative_prompt": "a green square", "true_cfg_scale": 3.0}
    found = drawn(text, image=scene(), mask=mask, prompt_strength=0.9, **away)
    pictures = {"image": scene(), "strength": 0.9, "guidance_scale": 3.5, **away}
    if mask is None:
        expected = plain(diffusers.FluxImg2ImgPipeline, "flux-dev", **pictures)
        assert np.array_equal(found, expected)
    else:
        expected = plain(diffusers.FluxInpaintPipeline, "flux-dev", mask_image=mask, **pictures)
        assert np.array_equal(found[:, SIDE // 2 :], expected[:, SIDE // 2 :])
    assert not np.array_equal(found, drawn(text, image=scene(), mask=mask, prompt_strength=0.9))


@pytest.mark.parametrize("slug", ["flux-canny-dev", "flux-fill-dev", "flux-kontext-dev"])
def test_every_kind_wears_its_own_loras_and_takes_them_off(slug: str) -> None:
    pipeline = load(model(slug), DeviceOptions())
    changes: dict[str, Any] = {
        "flux-canny-dev": {"control": scene()},
        "flux-fill-dev": {"image": scene(), "mask": half_mask()},
        "flux-kontext-dev": {"before": scene()},
    }[slug]
    content = lora(Path(model(slug).weights.source) / "transformer")
    before = drawn(pipeline, **changes)
    worn = drawn(pipeline, **changes, loras=(Lora(content, 1.0, "0" * 64),))
    assert not np.array_equal(worn, before)
    assert np.array_equal(drawn(pipeline, **changes), before)
