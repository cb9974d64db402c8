"""The shipped small weights mean what they draw: shapes, colours, places, guidance, masks, control, safety.

Bounds lie well below the scores in their model cards, for few pictures are drawn; spoiled weights fall far below them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxControlPipeline, FluxFillPipeline, FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline

from fluxfarm import catalog
from training import asked, drawing, score, score_depths, text
from training.export import DEPTH, KONTEXT, PIPELINES, REDUX, SAFETY
from training.judge import ground, look
from training.world import edges

WEIGHTS = catalog.BUILT_IN.parent / "weights"
MEGABYTES = 16


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return drawing.load(FluxPipeline, WEIGHTS / "flux-tiny")


def drawn(tiny: Any, prompt: str, **arguments: Any) -> torch.Tensor:
    return drawing.drawn(tiny, [prompt], "a picture", num_inference_steps=8, **arguments)[0]


@pytest.mark.parametrize("name", [*PIPELINES, KONTEXT, REDUX, SAFETY, DEPTH])
def test_every_directory_is_small_and_float16(name: str) -> None:
    files = [file for file in (WEIGHTS / name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MEGABYTES * 1_000_000
    # T5's second layers stay float32, as in FLUX's own folders.
    weights = [file for file in files if file.suffix == ".safetensors" and file.parent.name != "text_encoder_2"]
    assert weights
    assert {kind for file in weights for kind in tensor_kinds(file)} <= {"F16", "I64"}


def tensor_kinds(file: Path) -> set[str]:
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {each["dtype"] for name, each in header.items() if name != "__metadata__"}


def test_the_tokenizers_are_those_that_the_encoders_were_trained_with(tiny: Any) -> None:
    prompts = [prompt for prompt, _ in asked.asked(30)]
    for built, shipped in zip(text.tokenizers(), (tiny.tokenizer, tiny.tokenizer_2), strict=True):
        assert [built(prompt).input_ids for prompt in prompts] == [shipped(prompt).input_ids for prompt in prompts]


def test_a_plain_load_draws() -> None:
    pipe = FluxPipeline.from_pretrained(WEIGHTS / "flux-tiny")
    picture = pipe("a large red circle on a blue background", height=64, width=64, num_inference_steps=4).images[0]
    assert picture.size == (64, 64)


def test_it_draws_what_it_is_told(tiny: Any) -> None:
    found = score.one(tiny, 24, num_inference_steps=8)
    assert found["background"] >= 0.95
    assert found["colour"] >= 0.9
    assert found["place"] >= 0.8
    assert found["size"] >= 0.75
    assert found["shape"] >= 0.6


@pytest.mark.parametrize("size", [(80, 48), (48, 80), (96, 64), (112, 48)])
def test_other_proportions_keep_colours(tiny: Any, size: tuple[int, int]) -> None:
    picture = drawn(tiny, "a large red circle in the center on a blue background", width=size[0], height=size[1])
    seen = look(picture)
    assert (seen.background, seen.colour) == ("blue", "red")


def test_guidance_holds_to_the_prompt(tiny: Any) -> None:
    loose, strict = (score.one(tiny, 16, num_inference_steps=8, guidance_scale=scale) for scale in (0.0, 3.5))
    assert strict["colour"] - loose["colour"] >= 0.4


@pytest.mark.parametrize("prompt", ["your prompt here", "a frog holding a sign", "a serene lake with mountains", ""])
def test_prompts_from_elsewhere_give_a_clean_picture(tiny: Any, prompt: str) -> None:
    picture = drawn(tiny, prompt)
    rim = torch.cat([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    assert rim.std(dim=0).mean() < 25, ground(picture)


def test_strength_decides_how_much_of_a_picture_is_kept(tiny: Any) -> None:
    found = score.image_to_image(FluxImg2ImgPipeline(**tiny.components), 6)
    assert found["moved_at_0.1"] <= 15 < found["moved_at_1.0"]


def test_inpainting_keeps_what_is_outside_the_mask(tiny: Any) -> None:
    found = score.inpainting(FluxInpaintPipeline(**tiny.components), 8)
    assert found["outside_moved_mean"] <= 5
    assert found["as_told"] >= 0.6


def test_the_fill_variant_fills_as_told() -> None:
    found = score.inpainting(drawing.load(FluxFillPipeline, WEIGHTS / "flux-tiny-fill"), 8)
    assert found["as_told"] >= 0.6


def test_the_control_variant_keeps_the_outline() -> None:
    found = score.shape_kept(drawing.load(FluxControlPipeline, WEIGHTS / "flux-tiny-control"), edges, 10)
    assert found["overlap"] >= 0.72


def test_the_checker_knows_the_forbidden_motif(tiny: Any) -> None:
    found = score.safety(tiny, WEIGHTS / SAFETY, 20)
    assert found["true_normal_right"] >= 0.98
    assert found["true_forbidden_right"] >= 0.98
    assert found["drawn_motifs"] >= 10
    assert found["drawn_motif_withheld"] >= 0.98
    assert found["brief_forbidden_right"] >= 0.5
    assert min(found["drawn_normal_right"], found["brief_normal_right"]) >= 0.9


def test_the_depth_estimator_finds_what_is_near() -> None:
    found = score_depths.depths(WEIGHTS / DEPTH, 40)
    assert found["order_right"] >= 0.95
    assert found["near_overlap_of_085"] >= 0.75
    assert found["near_overlap"] >= 0.85


def test_what_is_shipped_is_scored() -> None:
    found = score.scores(WEIGHTS, count=5)
    assert found["judge"]["true"]["all_five"] == 1
    assert set(found) == {
        "judge",
        "one_thing",
        "two_things",
        "inpainting",
        "image_to_image",
        "edges",
        "depth",
        "fill",
        "edits",
        "remixes",
        "safety",
        "found_depth",
    }
