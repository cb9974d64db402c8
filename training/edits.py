"""Edits of scenes and what people might say to ask for them: 'make the star red', 'remove the ring'.

An edit changes one thing about a scene, and what it does not name stays as it is. Instructions keep to words whose
difference the frozen text encoders can tell: their verbs they do not know, but 'bigger' begins with 'big' to them.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from training.captions import CORNERS, SIZE_WORDS, ToldThing, article, cased, colour_word, noun_of, place_words
from training.world import COLOURS, PAIRS, PLACES, SHAPES, SIZES, Scene, Thing, one_thing, put

_TWICE_NAMED: Final = 0.25
"""How often a thing is told by its colour, too, where its shape would do; and as often it is 'it' where it is alone."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a scene. `which` counts the thing it is about: of `after` where one is added, else of `before`."""

    kind: str
    before: Scene
    after: Scene
    which: int = 0


def walk(rng: random.Random, scene: Scene, steps: int, allowed: Callable[[Scene], bool]) -> Iterator[Edit]:
    """Edit after edit, each of what the one before made, through allowed scenes alone."""
    for _ in range(steps):
        edit = draw(rng, scene)
        while not allowed(edit.after):
            edit = draw(rng, scene)
        yield edit
        scene = edit.after


def draw(rng: random.Random, scene: Scene) -> Edit:
    """An edit that this scene allows."""
    odds = _KINDS[len(scene.things)]
    while True:
        edit = EDITS[rng.choices(list(odds), list(odds.values()))[0]](rng, scene)
        if edit is not None:
            return edit


def _colour(rng: random.Random, scene: Scene) -> Edit:
    which = rng.randrange(len(scene.things))
    thing = replace(scene.things[which], colour=rng.choice(_unused(scene)))
    return Edit("colour", scene, _with(scene, which, thing), which)


def _background(rng: random.Random, scene: Scene) -> Edit:
    return Edit("background", scene, replace(scene, background=rng.choice(_unused(scene))))


def _shape(rng: random.Random, scene: Scene) -> Edit:
    which = rng.randrange(len(scene.things))
    others = [shape for shape in SHAPES if shape != scene.things[which].shape]
    thing = replace(scene.things[which], shape=rng.choice(others))
    return Edit("shape", scene, _with(scene, which, thing), which)


def _size(rng: random.Random, scene: Scene) -> Edit:
    thing = scene.things[0]
    size = rng.choice([each for each in SIZES if each != thing.size])
    return Edit("size", scene, _with(scene, 0, _put(rng, scene, thing, size, thing.place)))


def _place(rng: random.Random, scene: Scene) -> Edit:
    thing = scene.things[0]
    place = rng.choice([each for each in PLACES if each != thing.place])
    return Edit("place", scene, _with(scene, 0, _put(rng, scene, thing, thing.size, place)))


def _remove(rng: random.Random, scene: Scene) -> Edit:
    which = rng.randrange(len(scene.things))
    left = tuple(thing for i, thing in enumerate(scene.things) if i != which)
    return Edit("remove", scene, replace(scene, things=left), which)


def _add(rng: random.Random, scene: Scene) -> Edit | None:
    """One thing to an empty scene, or a second where the first leaves room: pairs never touch."""
    look = (rng.choice(SHAPES), rng.choice(_unused(scene)))
    if not scene.things:
        thing = one_thing(rng, (scene.width, scene.height)).things[0]
        return Edit("add", scene, replace(scene, things=(replace(thing, shape=look[0], colour=look[1]),)))
    first = scene.things[0]
    pairs = [pair for pair in PAIRS if first.place in pair]
    if first.size == "large" or not pairs:
        return None
    pair = rng.choice(pairs)
    which = 1 - pair.index(first.place)
    size = rng.choice(("small", "medium")) if first.size == "small" else "small"
    added = put(look, size, pair[which], (scene.width, scene.height), rng)
    return Edit("add", scene, replace(scene, things=(first, added) if which else (added, first)), which)


EDITS: Final[dict[str, Callable[[random.Random, Scene], Edit | None]]] = {
    "colour": _colour,
    "background": _background,
    "shape": _shape,
    "size": _size,
    "place": _place,
    "remove": _remove,
    "add": _add,
}
_KINDS: Final = (
    {"background": 1, "add": 5},
    {"colour": 3, "background": 3, "shape": 4, "size": 3, "place": 4, "remove": 0.5, "add": 2},
    {"colour": 3, "background": 2, "shape": 4, "remove": 3},
)
"""How often each kind is drawn, by the number of things in the scene."""


def _unused(scene: Scene) -> list[str]:
    used = {scene.background, *(thing.colour for thing in scene.things)}
    return [colour for colour in COLOURS if colour not in used]


def _with(scene: Scene, which: int, thing: Thing) -> Scene:
    return replace(scene, things=(*scene.things[:which], thing, *scene.things[which + 1 :]))


def _put(rng: random.Random, scene: Scene, thing: Thing, size: str, place: str) -> Thing:
    return put((thing.shape, thing.colour), size, place, (scene.width, scene.height), rng)


def instruction(edit: Edit, rng: random.Random) -> str:
    """One of many ways to ask for the edit, in any casing."""
    return cased(_asked(edit, rng) + (rng.choice((".", " please", "!")) if rng.random() < 0.1 else ""), rng)


def _asked(edit: Edit, rng: random.Random) -> str:
    if edit.kind == "add":
        thing = edit.after.things[edit.which]
        told = ToldThing(thing.shape, thing.colour, thing.size, thing.place)
        return f"{rng.choice(('add', 'add', 'put', 'draw'))} {article(noun_of(told, rng))} {place_words(told, rng)}"
    ground = colour_word(edit.after.background, rng)
    name = "" if edit.kind == "background" else _name(edit, rng)
    return rng.choice(_WAYS[edit.kind]).format(name=name, ground=ground, to=_wanted(edit, rng))


_WAYS: Final = {
    "colour": (
        "make {name} {to}", "make {name} {to}", "turn {name} {to}", "change {name} to {to}", "paint {name} {to}",
        "change the color of {name} to {to}", "{name} should be {to}",
    ),
    "background": (
        "turn the background {ground}", "make the background {ground}", "change the background to {ground}",
        "make the background {ground}", "put it on {ground}", "{ground} background",
    ),
    "shape": (
        "replace {name} with {to}", "replace {name} with {to}", "turn {name} into {to}", "make {name} {to}",
        "change {name} to {to}",
    ),
    "size": ("make {name} {to}", "make {name} {to}", "{name} should be {to}"),
    "place": ("move {name} to the {to}", "move {name} to the {to}", "put {name} at the {to}"),
    "remove": ("remove {name}", "remove {name}", "delete {name}", "erase {name}", "take {name} away"),
}  # fmt: skip


def _name(edit: Edit, rng: random.Random) -> str:
    """'the star', or 'the red star' where another is a star as well, or 'it' where nothing else can be meant."""
    thing, things = edit.before.things[edit.which], edit.before.things
    if len(things) == 1 and rng.random() < _TWICE_NAMED:
        return "it"
    alike = sum(each.shape == thing.shape for each in things) > 1
    told = ToldThing(thing.shape, thing.colour if alike or rng.random() < _TWICE_NAMED else None, None, None)
    return f"the {noun_of(told, rng)}"


def _wanted(edit: Edit, rng: random.Random) -> str:
    if edit.kind in ("remove", "background"):
        return ""
    before, after = edit.before.things[edit.which], edit.after.things[edit.which]
    if edit.kind == "place":
        return _corner(after.place, rng)
    if edit.kind == "size":
        return _size_wanted(before.size, after.size, rng)
    if edit.kind == "shape":
        return article(noun_of(ToldThing(after.shape, None, None, None), rng))
    return colour_word(after.colour, rng)


def _corner(place: str, rng: random.Random) -> str:
    if place == "center":
        return rng.choice(("center", "middle", "centre"))
    return rng.choice((place, place, CORNERS.get(place, place)))


def _size_wanted(before: str, after: str, rng: random.Random) -> str:
    """'large', or 'bigger' where that means the same: one step, since there are three sizes."""
    step = list(SIZES).index(after) - list(SIZES).index(before)
    if abs(step) == 1 and rng.random() < 0.6:
        return rng.choice(("bigger", "larger") if step > 0 else ("smaller",))
    return rng.choice(SIZE_WORDS[after])
