"""Many pictures on one, each above what was asked for."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CELL = 160
TEXT_HEIGHT = 36
MARGIN = 6
LETTERS = 28
MOST_SHOWN = 400
"""More would not be a picture that anything opens gladly."""


def contact_sheet(shown: Sequence[tuple[Path, str]], path: Path) -> None:
    """Draw the pictures, at most `MOST_SHOWN`, in their order, with their prompts; nothing where there is none."""
    shown = shown[:MOST_SHOWN]
    if not shown:
        return
    columns = min(len(shown), max(4, math.isqrt(len(shown))))
    rows = -(-len(shown) // columns)
    sheet = Image.new(
        "RGB", (columns * (CELL + MARGIN) + MARGIN, rows * (CELL + TEXT_HEIGHT + MARGIN) + MARGIN), "white"
    )
    writer, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (file, prompt) in enumerate(shown):
        x = MARGIN + i % columns * (CELL + MARGIN)
        y = MARGIN + i // columns * (CELL + TEXT_HEIGHT + MARGIN)
        with Image.open(file) as picture:
            picture.thumbnail((CELL, CELL))
            sheet.paste(picture.convert("RGB"), (x + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2))
        lines = textwrap.wrap(prompt, LETTERS, max_lines=2, placeholder=" …")
        writer.multiline_text((x, y + CELL + 2), "\n".join(lines), fill="black", font=font, spacing=2)
    sheet.save(path, quality=85)
