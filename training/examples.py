"""Draws the four example pictures that NVIDIA's door knows by number: `python -m training.examples`.

Plain scenes with clear outlines and a clear near and far, so that both their edges and their depth can be followed; and
beside each its depth, white nearest, for weights that cannot find it themselves.
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 512
FINE = 4
"""Drawn so much larger, for smooth outlines."""
COLOURS = 64
TARGET = Path(__file__).parents[1] / "api/doors/examples"

FAR, GROUND, NEAR, NEAREST = "#1f1f1f", "#454545", "#c8c8c8", "#f5f5f5"

Draw = Callable[[ImageDraw.ImageDraw], None]


def house(on: ImageDraw.ImageDraw) -> None:
    ground(on, "#bfe3ff", "#7cb35b", 340)
    on.rectangle(scaled(150, 220, 362, 420), fill="#f2d7a6", outline="#5a4630", width=3 * FINE)
    on.polygon(scaled(130, 225, 256, 110, 382, 225), fill="#b5472f", outline="#5a4630", width=3 * FINE)
    on.rectangle(scaled(232, 320, 282, 420), fill="#6b4a2f")
    for left in (174, 296):
        on.rectangle(scaled(left, 260, left + 42, 304), fill="#9fd0ea", outline="#5a4630", width=3 * FINE)


def vase(on: ImageDraw.ImageDraw) -> None:
    ground(on, "#efe6da", "#9a7250", 380)
    for place, colour in ((196, "#d9463e"), (256, "#f0b429"), (316, "#c45bb5")):
        on.line(scaled(256, 290, place, 150), fill="#3f7d3a", width=7 * FINE)
        on.ellipse(scaled(place - 38, 92, place + 38, 168), fill=colour, outline="#54332b", width=3 * FINE)
    on.polygon(scaled(212, 270, 300, 270, 326, 420, 186, 420), fill="#3d6fa8", outline="#1f3a5c", width=3 * FINE)


def road(on: ImageDraw.ImageDraw) -> None:
    ground(on, "#f7c98b", "#5f8f55", 250)
    on.ellipse(scaled(330, 120, 410, 200), fill="#fff1b8")
    on.polygon(scaled(0, 250, 140, 120, 270, 250), fill="#8a7ca8")
    on.polygon(scaled(236, 250, 276, 250, 420, 512, 92, 512), fill="#55555c")
    for top, bottom in ((270, 300), (330, 372), (420, 500)):
        on.polygon(scaled(252, top, 260, top, 264, bottom, 248, bottom), fill="#f3f0e4")


def fruit(on: ImageDraw.ImageDraw) -> None:
    ground(on, "#dfe7ea", "#c9a27a", 300)
    on.chord(scaled(96, 220, 416, 460), 0, 180, fill="#f4f4f2", outline="#4d5a66", width=4 * FINE)
    for left, top, colour in ((140, 230, "#d23b36"), (240, 216, "#e98a1f"), (196, 150, "#7fae3b")):
        on.ellipse(scaled(left, top, left + 130, top + 130), fill=colour, outline="#4b2f22", width=4 * FINE)
    on.chord(scaled(96, 220, 416, 460), 12, 168, fill="#f4f4f2", outline="#4d5a66", width=4 * FINE)


def house_depth(on: ImageDraw.ImageDraw) -> None:
    ground(on, FAR, GROUND, 340)
    on.polygon(scaled(150, 220, 130, 225, 256, 110, 382, 225, 362, 220, 362, 420, 150, 420), fill=NEAR)


def vase_depth(on: ImageDraw.ImageDraw) -> None:
    ground(on, FAR, GROUND, 380)
    for place in (196, 256, 316):
        on.line(scaled(256, 290, place, 150), fill=NEAR, width=7 * FINE)
        on.ellipse(scaled(place - 38, 92, place + 38, 168), fill=NEAR)
    on.polygon(scaled(212, 270, 300, 270, 326, 420, 186, 420), fill=NEAREST)


def road_depth(on: ImageDraw.ImageDraw) -> None:
    ground(on, FAR, FAR, 250)
    on.polygon(scaled(0, 250, 140, 120, 270, 250), fill=GROUND)
    for top in range(250, SIDE):
        share = (top - 250) / (SIDE - 250)
        on.rectangle(scaled(0, top, SIDE, top + 1), fill=f"hsl(0, 0%, {round(25 + 75 * share)}%)")


def fruit_depth(on: ImageDraw.ImageDraw) -> None:
    ground(on, FAR, GROUND, 300)
    for left, top in ((140, 230), (240, 216), (196, 150)):
        on.ellipse(scaled(left, top, left + 130, top + 130), fill=NEAR)
    on.chord(scaled(96, 220, 416, 460), 12, 168, fill=NEAREST)


def ground(on: ImageDraw.ImageDraw, sky: str, earth: str, horizon: int) -> None:
    on.rectangle(scaled(0, 0, SIDE, horizon), fill=sky)
    on.rectangle(scaled(0, horizon, SIDE, SIDE), fill=earth)


def scaled(*numbers: int) -> list[float]:
    return [float(each * FINE) for each in numbers]


def drawn(draw: Draw) -> Image.Image:
    large = Image.new("RGB", (SIDE * FINE, SIDE * FINE))
    draw(ImageDraw.Draw(large))
    return large.resize((SIDE, SIDE), Image.Resampling.BOX).quantize(COLOURS)


def main() -> None:
    for number, (draw, depth) in enumerate(
        ((house, house_depth), (vase, vase_depth), (road, road_depth), (fruit, fruit_depth))
    ):
        drawn(draw).save(TARGET / f"{number}.png", optimize=True)
        drawn(depth).save(TARGET / f"{number}.depth.png", optimize=True)


if __name__ == "__main__":
    main()
