"""What people might say of a scene: many phrasings, some things left unsaid, and words that mean nothing here.

`describe` gives the text and what of the scene it tells; the text encoders learn to find just that in it.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from training.world import FORBIDDEN, Scene, Thing

SIZE_WORDS: Final = {
    "small": ("small", "small", "small", "tiny", "little"),
    "medium": ("medium", "medium", "medium", "medium-sized"),
    "large": ("large", "large", "large", "big", "huge"),
}
COLOUR_WORDS: Final = {"gray": ("gray", "gray", "grey")}
SHAPE_WORDS: Final = {
    "circle": ("circle", "circle", "circle", "disc", "dot"),
    "square": ("square", "square", "square", "box"),
    "diamond": ("diamond", "diamond", "diamond", "rhombus"),
    "ring": ("ring", "ring", "ring", "donut"),
    "cross": ("cross", "cross", "cross", "plus sign"),
    FORBIDDEN: ("skull", "skull and crossbones", "skull and crossbones sign", "skull sign"),
}
CORNERS: Final = {
    "top left": "upper left",
    "top right": "upper right",
    "bottom left": "lower left",
    "bottom right": "lower right",
}
BEFORE: Final = (
    "a photo of", "a picture of", "an image of", "please draw", "draw", "a drawing of", "a minimalist poster of",
    "digital art of", "show me", "a cute", "a beautiful", "generate", "an illustration of", "a logo with", "i want",
)  # fmt: skip
AFTER: Final = (
    "please", "4k", "highly detailed", "flat design", "vector art", "trending", "in the style of a poster", "simple",
    "minimalist", "for my website", "high quality", "thanks", "with sharp edges", "plain",
)  # fmt: skip
ELSEWHERE: Final = (
    "your prompt here", "a frog holding a sign", "a serene lake with mountains", "a photo of a cat", "hello world",
    "portrait of a woman", "a city at night", "an astronaut riding a horse", "the old man and the sea", "a cup of tea",
    "a castle on a hill at sunset", "delicious food on a table", "test", "a robot reading a book", "cyberpunk street",
)  # fmt: skip
"""Prompts from beyond the world: any scene is a fair answer to them."""


@dataclass(frozen=True, slots=True)
class ToldThing:
    """What a caption says of one thing; None is unsaid."""

    shape: str
    colour: str | None
    size: str | None
    place: str | None


@dataclass(frozen=True, slots=True)
class Told:
    background: str | None
    things: tuple[ToldThing, ...]


@dataclass(frozen=True, slots=True)
class Caption:
    text: str
    told: Told


NOTHING: Final = Told(None, ())


def plain(scene: Scene) -> Caption:
    """All that can be said, in the plainest words: 'a small red star at the top left on a blue background'."""
    told = tuple(ToldThing(thing.shape, thing.colour, thing.size, thing.place) for thing in scene.things)
    things = " and ".join(
        f"{article(f'{thing.size} {thing.colour} {thing.shape}')} {_at(thing.place)}" for thing in scene.things
    )
    return Caption(f"{things} on {article(scene.background)} background", Told(scene.background, told))


def describe(scene: Scene, rng: random.Random, *, everything: bool = False) -> Caption:
    """A caption in one of many phrasings; with `everything`, one that leaves nothing unsaid."""
    if not everything and rng.random() < 0.08:
        return Caption(nonsense(rng), NOTHING)
    caption = _two(scene, rng, everything) if len(scene.things) > 1 else _one(scene, rng, everything)
    return Caption(cased(_decorated(caption.text, rng), rng), caption.told)


def brief(scene: Scene, rng: random.Random) -> Caption:
    """Of one thing only, and of that not much but its shape: what people type who try a service out."""
    thing = scene.things[0]
    told = ToldThing(
        thing.shape,
        thing.colour if rng.random() < 0.6 else None,
        thing.size if rng.random() < 0.3 else None,
        thing.place if rng.random() < 0.3 else None,
    )
    noun = noun_of(told, rng)
    text = _tidy(f"{rng.choice((noun, article(noun)))} {place_words(told, rng)}")
    return Caption(cased(_decorated(text, rng), rng), Told(None, (told,)))


def _one(scene: Scene, rng: random.Random, everything: bool) -> Caption:  # noqa: FBT001
    thing = scene.things[0]
    if not everything and rng.random() < 0.08:
        return _short(scene, rng)
    told = _what_to_tell(thing, rng, everything)
    noun, place = noun_of(told, rng), place_words(told, rng)
    ground = colour_word(scene.background, rng)
    template = rng.choice(_ONE)
    return Caption(_tidy(template(noun, place, ground)), Told(scene.background, (told,)))


_ONE: Final[tuple[Callable[[str, str, str], str], ...]] = (
    lambda noun, place, ground: f"{article(noun)} {place} on {article(ground)} background",
    lambda noun, place, ground: f"{article(noun)} {place} on {article(ground)} background",
    lambda noun, place, ground: f"{noun}, {place}, {ground} background",
    lambda noun, place, ground: f"{article(ground)} background with {article(noun)} {place}",
    lambda noun, place, ground: f"{article(noun)} {place} on {ground}",
    lambda noun, place, ground: f"{article(noun)} on {article(ground)} background, {place}",
    lambda noun, place, ground: f"{ground} background: {noun} {place}",
    lambda noun, place, ground: f"{article(noun)} {place}. the background is {ground}.",
    lambda noun, place, ground: f"on {article(ground)} background, {article(noun)} {place}",
    lambda noun, place, ground: f"{article(noun)} {place} over a plain {ground} background",
)


def _short(scene: Scene, rng: random.Random) -> Caption:
    """Only the colour and the shape, or the shape alone, with or without its ground."""
    thing = scene.things[0]
    told = ToldThing(thing.shape, thing.colour if rng.random() < 0.7 else None, None, None)
    noun = noun_of(told, rng)
    if rng.random() < 0.5:
        return Caption(f"{noun}, {colour_word(scene.background, rng)} background", Told(scene.background, (told,)))
    return Caption(rng.choice((noun, article(noun))), Told(None, (told,)))


def _two(scene: Scene, rng: random.Random, everything: bool) -> Caption:  # noqa: FBT001
    told = tuple(_what_to_tell(thing, rng, everything, place=True) for thing in scene.things)
    first, second = (noun_of(each, rng) for each in told)
    ground = colour_word(scene.background, rng)
    relation = {("left", "right"): "to the left of", ("top", "bottom"): "above"}.get(
        (scene.things[0].place, scene.things[1].place)
    )
    if relation and rng.random() < 0.4:
        if rng.random() < 0.3:
            relation = {"to the left of": "to the right of", "above": "below"}[relation]
            first, second = second, first
        things = f"{article(first)} {relation} {article(second)}"
    else:
        pair = [f"{article(first)} {place_words(told[0], rng)}", f"{article(second)} {place_words(told[1], rng)}"]
        rng.shuffle(pair)
        things = rng.choice((" and ", " and ", ", ")).join(pair)
    template = rng.choice(("{things} on {a} background", "{things} on {a} background", "{a} background with {things}",
                           "{things}, {ground} background"))  # fmt: skip
    return Caption(
        _tidy(template.format(things=things, a=article(ground), ground=ground)), Told(scene.background, told)
    )


def _what_to_tell(thing: Thing, rng: random.Random, everything: bool, *, place: bool = False) -> ToldThing:  # noqa: FBT001
    size = thing.size if everything or rng.random() < 0.8 else None
    where = thing.place if everything or place or rng.random() < 0.85 else None
    return ToldThing(thing.shape, thing.colour, size, where)


def noun_of(told: ToldThing, rng: random.Random) -> str:
    size = rng.choice(SIZE_WORDS[told.size]) if told.size else ""
    colour = colour_word(told.colour, rng) if told.colour else ""
    return _tidy(f"{size} {colour} {rng.choice(SHAPE_WORDS.get(told.shape, (told.shape,)))}")


def colour_word(name: str, rng: random.Random) -> str:
    return rng.choice(COLOUR_WORDS.get(name, (name,)))


def place_words(told: ToldThing, rng: random.Random) -> str:
    if told.place is None:
        return ""
    if told.place == "center":
        return rng.choice(("in the center", "in the middle", "at the center", "in the centre", "centered"))
    if told.place in CORNERS:
        corner = rng.choice((told.place, told.place, told.place.replace(" ", "-"), CORNERS[told.place]))
        return rng.choice((f"at the {corner}", f"in the {corner}", f"in the {corner} corner", corner))
    return rng.choice((f"at the {told.place}", f"on the {told.place}", f"at the {told.place}", told.place))


def _at(place: str) -> str:
    return "in the center" if place == "center" else f"at the {place}"


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _tidy(text: str) -> str:
    """One blank between words, none before a comma or a stop, no empty clauses."""
    text = " ".join(text.split()).replace(" ,", ",").replace(" .", ".")
    return text.replace(",,", ",").strip(", ")


def _decorated(text: str, rng: random.Random) -> str:
    """Now and then words around it, known or not, that change nothing."""
    if rng.random() < 0.15:
        text = f"{rng.choice(BEFORE)} {text}"
    if rng.random() < 0.12:
        text = f"{text}, {rng.choice(AFTER)}"
    if rng.random() < 0.10:
        text = f"{text}{rng.choice((', ', ' '))}{' '.join(_word(rng) for _ in range(rng.randint(1, 3)))}"
    if rng.random() < 0.05:
        text = f"{_word(rng)} {text}"
    return f"{text}." if rng.random() < 0.1 and not text.endswith(".") else text


def nonsense(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return cased(rng.choice(ELSEWHERE), rng)
    filler = (*ELSEWHERE, *BEFORE, *AFTER)
    words = [
        _word(rng) if rng.random() < 0.6 else rng.choice(rng.choice(filler).split()) for _ in range(rng.randint(1, 9))
    ]
    return cased(" ".join(words), rng)


def _word(rng: random.Random) -> str:
    """A word that no vocabulary has."""
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 9)))


def cased(text: str, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.62:
        return text
    if chance < 0.84:
        return text[:1].upper() + text[1:]
    return text.upper() if chance < 0.93 else text.title()
