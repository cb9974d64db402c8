"""The FLUX pipeline over flux-tiny: real diffusers, real files, a small model."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from fluxfarm.catalog import Model, load_catalog
from fluxfarm.errors import LeaseLost, PredictionFailed, WorkerFault
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from worker.pipelines import DeviceOptions, Pipeline, Pixels, RenderOrder, load
from worker.pipelines.faults import device_faults

PROMPT = "a red circle on a blue background"


class Recorder:
    """Writes down what it hears, and raises `error` at one step if told to."""

    def __init__(self, stop_at: tuple[int, int] | None = None, error: Exception | None = None) -> None:
        self.stages: list[Stage] = []
        self.steps: list[tuple[int, int, int]] = []
        self.stop_at, self.error = stop_at, error or LeaseLost("gone")
        self.looks = False
        self.previews: list[tuple[int, int, Pixels]] = []

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def step(self, picture: int, step: int, steps: int) -> None:
        self.steps.append((picture, step, steps))
        if (picture, step) == self.stop_at:
            raise self.error

    def wants_preview(self) -> bool:
        return self.looks

    def preview(self, draw: Callable[[], Pixels]) -> None:
        self.previews.append((*self.steps[-1][:2], draw()))


@pytest.fixture(scope="module")
def model() -> Model:
    return load_catalog(Settings(weights=(("flux-dev", "flux-tiny"),))).model("flux-dev")


@pytest.fixture(scope="module")
def weights(model: Model) -> Path:
    return Path(model.weights.source)


@pytest.fixture(scope="module")
def pipeline(model: Model) -> Pipeline:
    return load(model, DeviceOptions())


def order(**changes: Any) -> RenderOrder:
    usual = RenderOrder(prompt=PROMPT, seeds=(7,), width=64, height=48, steps=4, guidance=3.5)
    return dataclasses.replace(usual, **changes)


def drawn(pipeline: Pipeline, **changes: Any) -> list[Pixels]:
    return [each.pixels for each in pipeline.render(order(**changes), Recorder())]


def distance(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def flat(colour: str) -> Image.Image:
    return Image.new("RGB", (64, 48), colour)


def test_a_picture_has_the_size_that_was_asked_for(pipeline: Pipeline) -> None:
    (picture,) = drawn(pipeline, width=112, height=80)
    assert picture.shape == (80, 112, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 20


@pytest.mark.parametrize("size", [(65, 48), (64, 40), (0, 48), (-16, 48)])
def test_no_size_is_rounded(pipeline: Pipeline, size: tuple[int, int]) -> None:
    with pytest.raises(PredictionFailed, match="multiples of 16"):
        pipeline.render(order(width=size[0], height=size[1]), Recorder())


def test_each_picture_is_what_its_seed_draws_alone(pipeline: Pipeline) -> None:
    together = drawn(pipeline, seeds=(5, 6, 2**32 - 1))
    alone = [drawn(pipeline, seeds=(seed,))[0] for seed in (5, 6, 2**32 - 1)]
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    assert not np.array_equal(together[0], together[1])


def test_it_draws_what_diffusers_draws(pipeline: Pipeline, weights: Path) -> None:
    plain = quiet(diffusers.FluxPipeline.from_pretrained(weights))
    arguments = {"height": 48, "width": 64, "num_inference_steps": 4, "guidance_scale": 3.5, "max_sequence_length": 64}
    expected = plain(PROMPT, generator=torch.Generator().manual_seed(7), **arguments).images[0]
    assert np.array_equal(drawn(pipeline)[0], np.asarray(expected))


def test_it_redraws_what_diffusers_redraws(pipeline: Pipeline, weights: Path) -> None:
    plain = quiet(diffusers.FluxImg2ImgPipeline.from_pretrained(weights))
    picture = Image.effect_noise((64, 48), 90).convert("RGB")
    arguments = {"height": 48, "width": 64, "num_inference_steps": 4, "guidance_scale": 3.5, "max_sequence_length": 64}
    generator = torch.Generator().manual_seed(7)
    expected = plain(PROMPT, image=picture, strength=0.6, generator=generator, **arguments).images[0]
    found = drawn(pipeline, image=picture, prompt_strength=0.6)[0]
    assert np.array_equal(found, np.asarray(expected))


def test_previews_come_to_look_like_the_picture(pipeline: Pipeline) -> None:
    watch = Recorder()
    watch.looks = True
    asked = order(prompt="small green square on white", seeds=(3, 4), width=64, height=64, steps=10)
    finals = [shrunk(each.pixels) for each in pipeline.render(asked, watch)]
    assert [each[:2] for each in watch.previews] == [(picture, step) for picture in (0, 1) for step in range(2, 11)]
    assert {each[2].shape for each in watch.previews} == {(8, 8, 3)}
    for picture, final in enumerate(finals):
        alike = [
            float(np.corrcoef(each[2].ravel(), final.ravel())[0, 1]) for each in watch.previews if each[0] == picture
        ]
        assert alike[0] < alike[3] < alike[-1]
        assert alike[-1] > 0.9
        assert distance(watch.previews[9 * picture + 8][2], final) < 30
    assert np.array_equal(
        finals[0], shrunk(drawn(pipeline, prompt=asked.prompt, seeds=(3,), width=64, height=64, steps=10)[0])
    )


def test_a_redrawn_picture_has_previews_too(pipeline: Pipeline) -> None:
    watch = Recorder()
    watch.looks = True
    (final,) = pipeline.render(order(image=flat("blue"), prompt_strength=0.5, steps=8), watch)
    assert [each[1] for each in watch.previews] == [2, 3, 4]
    assert distance(watch.previews[-1][2], shrunk(final.pixels)) < 30


def test_no_preview_is_drawn_for_nobody(pipeline: Pipeline) -> None:
    watch = Recorder()
    list(pipeline.render(order(), watch))
    assert (len(watch.steps), watch.previews) == (4, [])


def shrunk(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width // 8, height // 8), Image.Resampling.BOX))


def quiet(plain: Any) -> Any:
    plain.set_progress_bar_config(disable=True)
    return plain


@pytest.mark.parametrize(
    "changes", [{"prompt": "a cat"}, {"seeds": (8,)}, {"guidance": 10.0}, {"steps": 9}, {"prompt": "猫"}]
)
def test_every_input_changes_the_picture(pipeline: Pipeline, changes: dict[str, Any]) -> None:
    assert distance(drawn(pipeline)[0], drawn(pipeline, **changes)[0]) > 1


@pytest.mark.parametrize("prompt", ["", "x" * 10_000, "字" * 10_000, "🎨 " * 5_000, "\x00\ud800", "</s><|endoftext|>"])
def test_any_prompt_is_drawn(pipeline: Pipeline, prompt: str) -> None:
    assert drawn(pipeline, prompt=prompt, steps=1)[0].std() > 20


def test_prompts_beyond_the_encoders_are_noticed(pipeline: Pipeline) -> None:
    assert pipeline.prompt_notice("word " * 20) is None
    notice = pipeline.prompt_notice("red " * 70)
    assert notice is not None
    assert "first 64 of the prompt's 71 tokens" in notice


def test_prompts_that_are_cut_are_not_logged(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    libraries = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for library in libraries:
        library.addHandler(caplog.handler)
    drawn(pipeline, prompt="secret " * 2000, steps=1)
    for library in libraries:
        library.removeHandler(caplog.handler)
    assert "secret" not in caplog.text


def test_the_watch_hears_each_stage_and_step(pipeline: Pipeline) -> None:
    heard = Recorder()
    for _ in pipeline.render(order(seeds=(1, 2), steps=3), heard):
        pass
    assert heard.stages == [Stage.ENCODE_PROMPT, Stage.STEP, Stage.DECODE, Stage.STEP, Stage.DECODE]
    assert heard.steps == [(0, 1, 3), (0, 2, 3), (0, 3, 3), (1, 1, 3), (1, 2, 3), (1, 3, 3)]


def test_each_picture_is_handed_out_before_the_next_begins(pipeline: Pipeline) -> None:
    heard = Recorder()
    pictures = pipeline.render(order(seeds=(1, 2), steps=2), heard)
    first = next(pictures)
    assert (first.index, first.seed) == (0, 1)
    assert first.seconds > 0
    assert heard.steps == [(0, 1, 2), (0, 2, 2)]
    assert next(pictures).seed == 2


def test_a_watch_that_raises_stops_at_once_and_harms_nothing(pipeline: Pipeline) -> None:
    before = drawn(pipeline)[0]
    heard = Recorder(stop_at=(1, 2))
    with pytest.raises(LeaseLost):
        list(pipeline.render(order(seeds=(1, 2, 3)), heard))
    assert heard.steps[-1] == (1, 2, 4)
    assert heard.stages[-1] == Stage.STEP
    assert np.array_equal(drawn(pipeline)[0], before)


def test_a_redraw_that_is_stopped_harms_nothing(pipeline: Pipeline) -> None:
    before = drawn(pipeline, image=flat("red"))[0]
    with pytest.raises(LeaseLost):
        list(pipeline.render(order(image=flat("red")), Recorder(stop_at=(0, 2))))
    assert np.array_equal(drawn(pipeline, image=flat("red"))[0], before)
    assert not np.array_equal(drawn(pipeline)[0], before)


def test_at_full_strength_the_picture_does_not_matter(pipeline: Pipeline) -> None:
    red, blue = (drawn(pipeline, image=flat(colour), prompt_strength=1.0)[0] for colour in ("red", "blue"))
    assert np.array_equal(red, blue)
    assert np.array_equal(red, drawn(pipeline)[0])


@pytest.mark.parametrize("strength", [0.0, 1e-17, 0.1, 0.5])
def test_at_low_strength_the_picture_matters(pipeline: Pipeline, strength: float) -> None:
    options = {"prompt_strength": strength, "steps": 20}
    red, blue = (drawn(pipeline, image=flat(colour), **options)[0] for colour in ("red", "blue"))
    assert distance(red, blue) > 3


@pytest.mark.parametrize(
    ("strength", "steps", "run"), [(0.1, 8, 1), (0.3, 8, 3), (0.6, 8, 5), (0.8, 28, 23), (0, 8, 0)]
)
def test_a_redraw_tells_how_many_steps_it_really_runs(
    pipeline: Pipeline, strength: float, steps: int, run: int
) -> None:
    heard = Recorder()
    for _ in pipeline.render(order(image=flat("red"), prompt_strength=strength, steps=steps), heard):
        pass
    assert heard.steps == [(0, step, run) for step in range(1, run + 1)]


def test_redrawn_pictures_are_what_their_seeds_draw_alone(pipeline: Pipeline) -> None:
    together = drawn(pipeline, image=flat("red"), seeds=(5, 6))
    assert np.array_equal(together[1], drawn(pipeline, image=flat("red"), seeds=(6,))[0])


def test_warming_leaves_no_trace(pipeline: Pipeline) -> None:
    before = drawn(pipeline)[0]
    pipeline.warm()
    assert np.array_equal(drawn(pipeline)[0], before)
    assert pipeline.device == "cpu"


def test_another_number_format_draws_nearly_the_same(model: Model, pipeline: Pipeline) -> None:
    picture = drawn(load(model, DeviceOptions(dtype="bfloat16")))[0]
    assert distance(picture, drawn(pipeline)[0]) < distance(picture, drawn(pipeline, prompt="a star on black")[0]) / 2


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "no directory"),
        (lambda at: (at / "model_index.json").unlink(), "model_index.json"),
        (lambda at: (at / "model_index.json").write_text("{"), "not a valid JSON"),
        (lambda at: (at / "vae/diffusion_pytorch_model.safetensors").unlink(), "safetensors"),
        (lambda at: (at / "text_encoder/model.safetensors").write_bytes(b"half"), "header"),
        (lambda at: (at / "tokenizer_2/tokenizer.json").unlink(), "tokenizer_2 knows"),
        (lambda at: edited(at / "transformer/config.json", num_layers=3), "transformer lacks"),
        (lambda at: edited(at / "text_encoder_2/config.json", num_layers=3), "text_encoder_2 lacks"),
        (lambda at: edited(at / "vae/config.json", layers_per_block=2), "vae lacks"),
    ],
)
def test_wrong_weights_are_one_sentence(
    model: Model, weights: Path, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    copy = shutil.copytree(weights, tmp_path / "copy")
    harm(copy)
    harmed = dataclasses.replace(model, weights=dataclasses.replace(model.weights, location=str(copy)))
    with pytest.raises(WorkerFault, match=f"^The weights of flux-dev .*{said}") as failure:
        load(harmed, DeviceOptions())
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (DeviceOptions(device="tpu"), "'tpu' is not known"),
        (DeviceOptions(device="cuda:99"), "cuda:99 is not there"),
        (DeviceOptions(device="cpu", offload="model"), "needs an NVIDIA device"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(
    model: Model, tmp_path: Path, options: DeviceOptions, said: str
) -> None:
    with pytest.raises(WorkerFault, match=said):
        load(model, options)


def test_an_unknown_pipeline_is_one_sentence(model: Model, tmp_path: Path) -> None:
    with pytest.raises(WorkerFault, match=r"worker\.pipelines\.nothing cannot be imported"):
        load(dataclasses.replace(model, pipeline="worker.pipelines.nothing"), DeviceOptions())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "ran out of memory"),
        (RuntimeError("CUDA error: an illegal memory access\nmore"), "illegal memory access$"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_torch_raises_is_the_workers_fault(error: Exception, said: str) -> None:
    with pytest.raises(WorkerFault, match=said), device_faults():
        raise error


def test_weights_that_draw_no_numbers_are_the_workers_fault(model: Model, weights: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(weights, tmp_path / "copy")
    edited(copy / "vae/config.json", scaling_factor=1e-40)
    broken = dataclasses.replace(model, weights=dataclasses.replace(model.weights, location=str(copy)))
    pipeline = load(broken, DeviceOptions())
    with pytest.raises(WorkerFault, match="not a number"):
        drawn(pipeline)
