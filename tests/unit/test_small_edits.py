"""What the small Kontext is taught: edits that change what they say and nothing else, and a judge that sees which."""

import random
from dataclasses import replace

import pytest

from training import held_out, kontext
from training.drawing import levels
from training.edits import EDITS, Edit, draw, instruction, walk
from training.pictures import SIDES, scenes
from training.score_edits import asked, judged
from training.world import Scene, Thing, outlines, render

SQUARE = (64, 64)
STAR = Thing("star", "red", "small", "left", 10, 12, 32)
RING = Thing("ring", "pink", "small", "right", 10, 52, 32)
ALONE, BOTH = Scene(*SQUARE, "blue", (STAR,)), Scene(*SQUARE, "blue", (STAR, RING))


def edits(count: int) -> list[Edit]:
    rng = random.Random(1)
    starts = scenes(rng, SQUARE, count // 5, two=0.4)
    return [edit for start in starts for edit in walk(rng, start, 5, lambda _: True)]


def test_every_kind_of_edit_is_taught() -> None:
    assert {edit.kind for edit in edits(500)} == set(EDITS)


def test_an_edit_changes_what_it_says_and_nothing_else() -> None:
    for edit in edits(500):
        before, after = edit.before, edit.after
        assert (before.background != after.background) == (edit.kind == "background")
        if edit.kind in ("remove", "add"):
            more, fewer = sorted((before.things, after.things), key=len, reverse=True)
            assert tuple(thing for i, thing in enumerate(more) if i != edit.which) == fewer
            continue
        for i, (was, is_now) in enumerate(zip(before.things, after.things, strict=True)):
            changed = {
                name for name in ("shape", "colour", "size", "place") if getattr(was, name) != getattr(is_now, name)
            }
            assert changed == ({edit.kind} - {"background"} if i == edit.which else set())


def test_things_that_an_edit_brings_together_do_not_touch() -> None:
    pairs = [edit.after for edit in edits(2000) if len(edit.after.things) == 2]
    first, second = (outlines([scene.things[i] for scene in pairs], *SQUARE) < 0 for i in range(2))
    assert not (first & second).any()
    assert all(len({each.background, *(thing.colour for thing in each.things)}) == 3 for each in pairs)


def test_training_never_shows_what_is_held_out_and_scores_ask_for_nothing_else() -> None:
    never = held_out.load()
    for walks in (kontext.walked(sides, 20) for sides in SIDES[:2]):
        assert not any(held_out.shows(scene, never) for scene in kontext.passed(walks))
    assert all(held_out.shows(edit.after, never) for _, edit in asked(70))


@pytest.mark.parametrize(
    ("edit", "ways"),
    [
        (Edit("colour", ALONE, replace(ALONE, things=(replace(STAR, colour="white"),))), ("make the star white",)),
        (Edit("background", ALONE, replace(ALONE, background="black")), ("make the background black",)),
        (Edit("size", ALONE, replace(ALONE, things=(replace(STAR, size="medium"),))), ("make it bigger",)),
        (Edit("remove", BOTH, ALONE, 1), ("remove the ring", "remove the pink ring")),
        (Edit("add", ALONE, BOTH, 1), ("add a small pink ring at the right",)),
    ],
)
def test_instructions_are_what_people_say(edit: Edit, ways: tuple[str, ...]) -> None:
    rng = random.Random(2)
    assert {instruction(edit, rng).lower() for _ in range(500)} >= set(ways)


def test_of_two_alike_the_colour_tells_which() -> None:
    rng = random.Random(3)
    alike = replace(BOTH, things=(STAR, replace(RING, shape="star")))
    removed = Edit("remove", alike, ALONE, 1)
    assert all("pink" in instruction(removed, rng).lower() for _ in range(50))


def test_an_empty_scene_only_gains() -> None:
    rng = random.Random(4)
    kinds = {draw(rng, replace(ALONE, things=())).kind for _ in range(50)}
    assert kinds == {"add", "background"}


def test_the_judge_knows_what_was_done_from_what_was_not() -> None:
    for _, edit in asked(42):
        done, not_done = (judged(levels(render([scene]))[0], edit) for scene in (edit.after, edit.before))
        assert done.as_asked, edit
        assert done.rest_kept, edit
        assert not (not_done.as_asked and not_done.rest_kept), edit
