"""How well the weights edit by instruction: what was asked is there, and what was not asked is as it was."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import FluxKontextPipeline, FluxTransformer2DModel
from torch import Tensor
from tqdm import tqdm

from training import held_out
from training.asked import ASPECTS, SEED
from training.drawing import SQUARE, image_of, levels, levels_of, share, usual
from training.edits import EDITS, Edit, draw, instruction
from training.judge import Seen, look, look_at_two
from training.world import one_thing, render, two_things

_BATCH: Final = 25
_TWO: Final = 0.3
_OF_THINGS: Final = ASPECTS[1:]


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one edited picture."""

    as_asked: bool
    rest_kept: bool


def load(folder: Path, base: Any) -> Any:
    """The stock pipeline with this folder's transformer over the other parts of the base's."""
    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32)
    pipe = FluxKontextPipeline(**{**base.components, "transformer": transformer})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def edits(pipe: Any, count: int, **arguments: Any) -> dict[str, Any]:
    """Shares of edits with what was asked there, with the rest kept, and with both; the last by kind of edit, too."""
    wanted = asked(count)
    pictures = edited(pipe, wanted, **arguments)
    verdicts = [judged(picture, edit) for picture, (_, edit) in zip(pictures, wanted, strict=True)]
    return {**shares(verdicts), "by_kind": _by_kind(wanted, verdicts), "judge": _judge_alone(wanted)}


def asked(count: int) -> list[tuple[str, Edit]]:
    """Instructions with their edits, each kind as often; what they lead to shows held-out combinations alone."""
    rng, never = random.Random(SEED), held_out.load()

    def of_kind(kind: str) -> Iterator[Edit]:
        while True:
            scene = (two_things if rng.random() < _TWO else one_thing)(rng, SQUARE)
            edit = draw(rng, scene)
            if edit.kind == kind and held_out.shows(edit.after, never):
                yield edit

    each = [islice(of_kind(kind), -(-count // len(EDITS))) for kind in EDITS]
    found = [edit for some in zip(*each, strict=True) for edit in some][:count]
    return [(instruction(edit, rng), edit) for edit in found]


def edited(pipe: Any, wanted: list[tuple[str, Edit]], **arguments: Any) -> list[Tensor]:
    """What the pipeline makes of each, seeds 0, 1, 2 …, as levels."""
    pictures: list[Tensor] = []
    # The pipeline would else blow the picture up to a million pixels, as the real weights want it.
    native = {"max_area": SQUARE[0] * SQUARE[1], "_auto_resize": False}
    for start in tqdm(range(0, len(wanted), _BATCH), desc="edit"):
        some = wanted[start : start + _BATCH]
        images = [image_of(edit.before) for _, edit in some]
        options = usual(range(start, start + len(some)), **native, **arguments)
        pictures += [
            levels_of(image) for image in pipe(prompt=[text for text, _ in some], image=images, **options).images
        ]
    return pictures


def judged(picture: Tensor, edit: Edit) -> Verdict:
    """From pixels alone, against what the edit should lead to."""
    right = _right(picture, edit)
    changed = {key for key in right if _is_asked(key, edit)}
    return Verdict(all(right[key] for key in changed), all(right[key] for key in right.keys() - changed))


def _right(picture: Tensor, edit: Edit) -> dict[tuple[int, str], bool]:
    """Each aspect of each thing that should be there, by the thing's number; the picture's own by -1."""
    seen, things = _seen(picture, edit), edit.after.things
    first = seen[0]
    found = {(-1, "background"): first is not None and first.background == edit.after.background}
    if len(things) < 2:
        found[-1, "nothing else"] = first is not None and (first.shape is not None) == bool(things)
    for i, thing in enumerate(things):
        for aspect in _OF_THINGS:
            found[i, aspect] = getattr(seen[i], aspect, None) == getattr(thing, aspect)
    return found


def _seen(picture: Tensor, edit: Edit) -> tuple[Seen | None, ...]:
    if len(edit.after.things) < 2:
        return (look(picture),)
    first, second = (thing.colour for thing in edit.after.things)
    return look_at_two(picture, (first, second))


def _is_asked(key: tuple[int, str], edit: Edit) -> bool:
    which, aspect = key
    if edit.kind == "remove":
        return aspect == "nothing else" or (which == 0 and aspect in ("colour", "size"))
    if edit.kind == "add":
        return which == edit.which
    return aspect == edit.kind and (edit.kind == "background" or which == edit.which)


def shares(verdicts: list[Verdict]) -> dict[str, float]:
    return {
        "as_asked": share(each.as_asked for each in verdicts),
        "rest_kept": share(each.rest_kept for each in verdicts),
        "both": share(each.as_asked and each.rest_kept for each in verdicts),
    }


def _by_kind(wanted: list[tuple[str, Edit]], verdicts: list[Verdict]) -> dict[str, float]:
    kinds = {
        kind: [each for each, (_, edit) in zip(verdicts, wanted, strict=True) if edit.kind == kind] for kind in EDITS
    }
    return {kind: shares(some)["both"] for kind, some in kinds.items() if some}


def _judge_alone(wanted: list[tuple[str, Edit]]) -> dict[str, dict[str, float]]:
    """On true pictures of what the edits lead to, and on the untouched ones."""
    after, before = (
        [judged(levels(render([getattr(edit, when)]))[0], edit) for _, edit in wanted] for when in ("after", "before")
    )
    return {"true": shares(after), "untouched": shares(before)}
