"""The model card's contact sheet: forty prompts, in and beyond the small Flux's world, each under what it drew."""

import textwrap
from pathlib import Path
from typing import Any, Final

from diffusers import FluxPipeline
from PIL import Image, ImageDraw, ImageFont

from training.asked import asked
from training.captions import ELSEWHERE
from training.drawing import drawn, load
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


def sheet(weights: Path, path: Path) -> None:
    """Draw the sheet with the shipped weights, seeds 0 to 39, and save it as a PNG."""
    one = [text for text, _ in asked(20)]
    two = [text for text, _ in asked(8, two_things)]
    prompts = [*_OWN, *one, *two, *ELSEWHERE[:6]]
    pictures = drawn(load(FluxPipeline, weights / "flux-tiny"), prompts, "contact sheet")
    rows = -(-len(prompts) // _COLUMNS)
    canvas = Image.new("RGB", (_COLUMNS * (_SIDE + 8), rows * (_SIDE + _TEXT_HEIGHT)), "white")
    for i, (prompt, picture) in enumerate(zip(prompts, pictures, strict=True)):
        corner = (i % _COLUMNS * (_SIDE + 8) + 4, i // _COLUMNS * (_SIDE + _TEXT_HEIGHT) + 4)
        small = Image.fromarray(picture.byte().numpy())
        canvas.paste(small.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), corner)
        _write(ImageDraw.Draw(canvas), prompt, (corner[0], corner[1] + _SIDE + 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path, optimize=True)


def _write(draw: Any, prompt: str, corner: tuple[int, int]) -> None:
    lines = textwrap.wrap(prompt, 25)[:4]
    draw.multiline_text(corner, "\n".join(lines), fill="black", font=ImageFont.load_default(10), spacing=1)
