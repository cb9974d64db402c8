"""The world of the small Flux: its pictures, its captions, and the judge that looks at pictures alone."""

import random
from itertools import islice

import pytest
import torch

from training import held_out
from training.asked import asked, shares
from training.captions import describe, plain
from training.drawing import levels
from training.judge import Seen, colours_and_sides_right, filled_overlap, look
from training.pictures import SIDES, scenes
from training.world import FORBIDDEN, SHAPES, Scene, Thing, depth, edges, one_thing, outlines, render, two_things

SQUARE = (64, 64)


def test_the_plainest_caption_says_it_all() -> None:
    thing = Thing("star", "red", "small", "top left", 10, 12, 12)
    caption = plain(Scene(*SQUARE, "blue", (thing,)))
    assert caption.text == "a small red star at the top left on a blue background"


@pytest.mark.parametrize("sides", SIDES)
def test_things_lie_within_the_picture_and_do_not_touch(sides: tuple[int, int]) -> None:
    rng = random.Random(1)
    drawn = [two_things(rng, sides) for _ in range(50)]
    first, second = (outlines([scene.things[i] for scene in drawn], *sides) < 0 for i in range(2))
    assert not (first & second).any()
    for one in (first, second):
        assert not one[:, [0, -1]].any()
        assert not one[:, :, [0, -1]].any()


def test_training_never_shows_what_is_held_out() -> None:
    combinations = held_out.load()
    assert len(combinations) == 9 * len(SHAPES)
    shown = scenes(random.Random(2), SQUARE, 2000)
    assert not any(held_out.shows(scene, combinations) for scene in shown)
    assert all(held_out.shows(scene, combinations) for _, scene in asked(50))


def test_captions_tell_only_what_is_there() -> None:
    rng = random.Random(3)
    for scene in scenes(rng, SQUARE, 300):
        told = describe(scene, rng).told
        assert told.background in (None, scene.background)
        for said, thing in zip(told.things, scene.things, strict=False):
            assert said.shape == thing.shape
            assert said.colour in (None, thing.colour)
            assert said.size in (None, thing.size)
            assert said.place in (None, thing.place)


def test_captions_that_tell_everything_name_it() -> None:
    for text, scene in asked(200):
        words = text.lower().replace("grey", "gray")
        assert scene.background in words
        assert scene.things[0].colour in words


def test_the_judge_knows_true_pictures_and_is_at_a_loss_with_others() -> None:
    wanted = [scene for _, scene in asked(60)]
    seen = [look(picture) for picture in levels(render(wanted))]
    assert min(shares(wanted, seen).values()) >= 0.98
    assert shares(wanted, seen[1:] + seen[:1])["all_five"] == 0


def test_the_judge_sees_no_thing_where_there_is_none() -> None:
    assert look(torch.full((64, 64, 3), 25.0)) == Seen("black")


def test_the_judge_tells_sides_apart() -> None:
    rng = random.Random(4)
    drawn = list(islice((two_things(rng, SQUARE) for _ in iter(int, 1)), 40))
    pictures = levels(render(drawn))
    mirrored = [picture.flip(0, 1) for picture in pictures]
    assert all(colours_and_sides_right(picture, scene) for picture, scene in zip(pictures, drawn, strict=True))
    assert not any(colours_and_sides_right(picture, scene) for picture, scene in zip(mirrored, drawn, strict=True))


def test_the_overlap_is_with_the_shape_itself() -> None:
    rng = random.Random(5)
    for scene in (one_thing(rng, SQUARE) for _ in range(20)):
        picture = levels(render([scene]))[0]
        assert filled_overlap(picture, scene.things[0], scene.background) > 0.8
        assert filled_overlap(picture.flip(0).roll(16, 1), scene.things[0], scene.background) < 0.8


def test_control_pictures_show_outlines_and_nearness() -> None:
    rng = random.Random(6)
    drawn = [one_thing(rng, SQUARE, (*SHAPES, FORBIDDEN)) for _ in range(10)]
    inside = outlines([scene.things[0] for scene in drawn], *SQUARE) < -2
    outside = outlines([scene.things[0] for scene in drawn], *SQUARE) > 2
    assert (depth(drawn)[:, 0][inside] > 0.3).all()
    assert (depth(drawn)[:, 0][outside] < -0.7).all()
    assert (edges(drawn)[:, 0][inside | outside] == -1).all()
    assert (edges(drawn)[:, 0].amax(dim=(1, 2)) > 0).all()
