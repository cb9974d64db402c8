"""The shipped small weights mean what they draw: background, colour and place, strength and masks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline

from fluxfarm import catalog
from training import score, text
from training.judge import look

WEIGHTS = catalog.BUILT_IN.parent / "weights" / "flux-tiny"
MEGABYTES = 16


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return score.load(FluxPipeline, WEIGHTS)


def test_the_directory_is_small_and_float16() -> None:
    files = [file for file in WEIGHTS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MEGABYTES * 1_000_000
    # T5's second layers stay float32, as in FLUX's own folders.
    large = [file for file in files if file.suffix == ".safetensors" and file.parent.name in ("transformer", "vae")]
    assert [tensor_kinds(file) for file in large] == [{"F16"}, {"F16"}]


def tensor_kinds(file: Path) -> set[str]:
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {each["dtype"] for name, each in header.items() if name != "__metadata__"}


def test_the_tokenizers_are_those_that_the_encoders_were_trained_with(tiny: Any) -> None:
    prompts = [prompt for prompt, _ in score.asked(30)]
    for built, shipped in zip(text.tokenizers(), (tiny.tokenizer, tiny.tokenizer_2), strict=True):
        assert [built(prompt).input_ids for prompt in prompts] == [shipped(prompt).input_ids for prompt in prompts]


def test_a_plain_load_draws() -> None:
    pipe = FluxPipeline.from_pretrained(WEIGHTS)
    picture = pipe("a large red circle on a blue background", height=64, width=64, num_inference_steps=2).images[0]
    assert picture.size == (64, 64)


def test_it_draws_what_it_is_told(tiny: Any) -> None:
    found = score.one(tiny, 25, num_inference_steps=8)
    assert found["background"] >= 0.95
    assert found["colour"] >= 0.75
    assert found["place"] >= 0.75


@pytest.mark.parametrize("size", [(80, 48), (48, 80), (96, 64), (112, 48)])
def test_other_proportions_keep_colours(tiny: Any, size: tuple[int, int]) -> None:
    prompt = "a large red circle in the center on a blue background"
    seen = look(score.drawn(tiny, [prompt], "wide", num_inference_steps=8, width=size[0], height=size[1])[0])
    assert (seen.background, seen.colour) == ("blue", "red")


def test_strength_decides_how_much_of_a_picture_is_kept(tiny: Any) -> None:
    found = score.image_to_image(FluxImg2ImgPipeline(**tiny.components), 5)
    assert found["moved_at_0.1"] <= 15 < found["moved_at_1.0"]


def test_inpainting_keeps_what_is_outside_the_mask(tiny: Any) -> None:
    assert score.inpainting(FluxInpaintPipeline(**tiny.components), 5)["outside_moved_mean"] <= 5


def test_what_is_shipped_is_scored() -> None:
    found = score.scores(WEIGHTS.parent, count=5)
    assert found["judge"]["true"]["all_five"] == 1
    assert set(found) == {"judge", "one_thing", "two_things", "inpainting", "image_to_image"}
