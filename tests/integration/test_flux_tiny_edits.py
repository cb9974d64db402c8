"""The shipped small Kontext edits as told, and the small Redux tells what is in a picture: through stock pipelines.

Bounds lie well below the scores in the model card, for few pictures are drawn; spoiled weights fall far below them.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline

from fluxfarm import catalog
from training import drawing, score_edits, score_remixes
from training.drawing import SQUARE, image_of, levels_of, usual
from training.export import KONTEXT, REDUX
from training.judge import look
from training.world import Scene, Thing

WEIGHTS = catalog.BUILT_IN.parent / "weights"
STEPS = 8
CIRCLE = Scene(*SQUARE, "blue", (Thing("circle", "red", "large", "center", 22, 32, 32),))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return drawing.load(FluxPipeline, WEIGHTS / "flux-tiny")


@pytest.fixture(scope="module")
def kontext(tiny: Any) -> Any:
    return score_edits.load(WEIGHTS / KONTEXT, tiny)


@pytest.fixture(scope="module")
def prior(tiny: Any) -> Any:
    return score_remixes.load(WEIGHTS / REDUX, tiny)


def edited(kontext: Any, instruction: str, scene: Scene = CIRCLE) -> torch.Tensor:
    sides = {"width": scene.width, "height": scene.height, "max_area": scene.width * scene.height}
    options = usual([0], **sides, _auto_resize=False, num_inference_steps=STEPS)
    return levels_of(kontext(prompt=instruction, image=image_of(scene), **options).images[0])


def test_it_edits_what_it_is_told_and_keeps_the_rest(kontext: Any) -> None:
    found = score_edits.edits(kontext, 28, num_inference_steps=STEPS)
    assert found["as_asked"] >= 0.3


def test_the_background_turns_and_the_thing_stays(kontext: Any) -> None:
    seen = look(edited(kontext, "make the background yellow"))
    assert (seen.background, seen.colour, seen.place) == ("yellow", "red", "center")


def test_the_thing_turns_and_the_background_stays(kontext: Any) -> None:
    seen = look(edited(kontext, "make the circle white"))
    assert (seen.background, seen.colour, seen.place) == ("blue", "white", "center")


def test_words_that_ask_nothing_keep_the_picture(kontext: Any) -> None:
    seen = look(edited(kontext, "a portrait of a woman"))
    assert (seen.background, seen.colour, seen.place) == ("blue", "red", "center")


def test_other_proportions_are_edited(kontext: Any) -> None:
    wide = Scene(80, 48, "blue", (Thing("circle", "red", "medium", "center", 12, 40, 24),))
    picture = edited(kontext, "make the background yellow", wide)
    assert picture.shape == (48, 80, 3)
    assert look(picture).background == "yellow"


def test_a_remix_keeps_more_of_its_picture_than_chance(tiny: Any, prior: Any) -> None:
    found = score_remixes.remixes(tiny, prior, 16, num_inference_steps=STEPS)
    for aspect, more in {"background": 0.6, "colour": 0.4, "place": 0.4, "size": 0.1}.items():
        assert found["kept"][aspect] - found["chance"][aspect] >= more, aspect
    assert found["two_things_colours_and_sides"] >= 0.4
