"""The recipe's command line: `python -m training PART`; each part goes on from where it was cut off."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from training import depth, distill, flow, kontext, onward, reading, redux, relatives, safety, text, vae
from training.export import export
from training.score import scores
from training.sheet import sheets

WEIGHTS: Final = Path(__file__).parent.parent / "fluxfarm" / "weights"
PARTS: Final[dict[str, Callable[[Path], None]]] = {
    "vae": vae.train,
    "text": text.train,
    "reading": reading.train,
    "flow": flow.train,
    "distill": distill.train,
    "control": relatives.control,
    "fill": relatives.fill,
    "kontext": kontext.train,
    "redux": redux.train,
    "safety": safety.train,
    "depth": depth.train,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "part",
        choices=[*PARTS, "all", "export", "score", "sheet"],
        help="what to do; all is every part, in order, and export",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and logs of losses (%(default)s)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the shipped weights are (%(default)s)")
    parser.add_argument("--count", type=int, default=500, help="captions of the first score (%(default)s)")
    asked = parser.parse_args()
    if asked.part == "score":
        print(json.dumps(scores(asked.weights, count=asked.count)))
        return
    if asked.part == "sheet":
        sheets(asked.weights)
        return
    for part in PARTS if asked.part == "all" else [asked.part]:
        if part in ("kontext", "redux"):
            onward.prepare(asked.runs, asked.weights / "flux-tiny")
        if part in PARTS:
            PARTS[part](asked.runs)
    if asked.part in ("all", "export"):
        export(asked.runs, asked.weights)


if __name__ == "__main__":
    main()
