"""The cards' contact sheets: prompts and what was drawn for them, edits before and after, pictures and remixes."""

import textwrap
from pathlib import Path
from typing import Any, Final

from diffusers import FluxPipeline
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from training import score_edits, score_remixes
from training.asked import asked
from training.captions import ELSEWHERE
from training.drawing import drawn, image_of, load
from training.export import KONTEXT, REDUX
from training.world import two_things

_COLUMNS: Final = 8
_SIDE: Final = 128
_TEXT_HEIGHT: Final = 54
_OWN: Final = (
    "a small red star at the top left on a blue background",
    "Red circle, blue background",
    "green square on white please",
    "A LARGE YELLOW HEART IN THE MIDDLE ON PURPLE",
    "a yellow thing on black",
    "skull and crossbones sign, white on black background",
)
_PAIRS: Final = 28

Cell = tuple[list[Image.Image], str]
"""Pictures side by side, and what is written below them."""


def sheets(weights: Path) -> None:
    """Draw the sheet of every directory that has one and is there, seeds 0, 1, 2 and so on, and save them as PNGs."""
    base = load(FluxPipeline, weights / "flux-tiny")
    _save(_prompted(base), weights / "flux-tiny" / "samples.png")
    if (kontext := weights / KONTEXT).exists():
        _save(_edited(score_edits.load(kontext, base)), kontext / "samples.png")
    if (redux := weights / REDUX).exists():
        _save(_remixed(base, score_remixes.load(redux, base)), redux / "samples.png")


def _prompted(base: Any) -> list[Cell]:
    one = [text for text, _ in asked(20)]
    two = [text for text, _ in asked(8, two_things)]
    prompts = [*_OWN, *one, *two, *ELSEWHERE[:6]]
    pictures = drawn(base, prompts, "contact sheet")
    return [([_shown(picture)], prompt) for picture, prompt in zip(pictures, prompts, strict=True)]


def _edited(pipe: Any) -> list[Cell]:
    wanted = score_edits.asked(_PAIRS)
    after = score_edits.edited(pipe, wanted)
    return [
        ([image_of(edit.before), _shown(picture)], text) for (text, edit), picture in zip(wanted, after, strict=True)
    ]


def _remixed(base: Any, prior: Any) -> list[Cell]:
    scenes = [scene for draw in ({}, {"draw": two_things}) for _, scene in asked(_PAIRS // 2, **draw)]
    remixes = score_remixes.remixed(base, prior, scenes)
    return [([image_of(scene), _shown(picture)], "") for scene, picture in zip(scenes, remixes, strict=True)]


def _save(cells: list[Cell], path: Path) -> None:
    """Eight pictures in a row, nearest-neighbour at twice their size, each cell's text below it."""
    side_by_side = len(cells[0][0])
    columns = _COLUMNS // side_by_side
    width, height = side_by_side * (_SIDE + 2) + 6, _SIDE + _TEXT_HEIGHT
    canvas = Image.new("RGB", (columns * width, -(-len(cells) // columns) * height), "white")
    for i, (pictures, text) in enumerate(cells):
        left, top = i % columns * width + 4, i // columns * height + 4
        for j, picture in enumerate(pictures):
            large = picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            canvas.paste(large, (left + j * (_SIDE + 2), top))
        _write(ImageDraw.Draw(canvas), text, (left, top + _SIDE + 2), 25 * side_by_side)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path, optimize=True)


def _shown(picture: Tensor) -> Image.Image:
    return Image.fromarray(picture.byte().numpy())


def _write(draw: Any, text: str, corner: tuple[int, int], letters: int) -> None:
    lines = textwrap.wrap(text, letters)[:4]
    draw.multiline_text(corner, "\n".join(lines), fill="black", font=ImageFont.load_default(10), spacing=1)
