"""A pipeline that draws nothing, for as long as FLUX.1 [dev] would take on a large card, ten times as fast.

By the transformer's arithmetic, which grows with the tokens of picture and words, and a little with their square. So a
measurement is of what fluxfarm expects, not of what else the machine does. Pictures, words and pace are in proportion:
a 64th of the pixels, a 64th of the tokens.
"""

import time
from collections.abc import Iterator

import numpy as np

from benchmarks import noop, paced
from fluxfarm.catalog import Model
from fluxfarm.status import Stage
from worker.pipelines import DeviceOptions, Rendered, RenderOrder, Watch

SLUG = "paced-flux"
FASTER = 10
SMALLER = 64
PATCH_PIXELS = 256
WORDS = 512
AS_DEAR_AS_THE_REST = 18_440
"""Tokens of which attention takes as long as all else."""
USUAL_TOKENS = 1024**2 // PATCH_PIXELS + WORDS
ENCODE_SECONDS, DECODE_SECONDS = 0.1, 0.2
CATALOGUE = (
    noop.CATALOGUE.replace(noop.SLUG, SLUG)
    .replace(f"benchmarks.{SLUG}", "benchmarks.paced_flux")
    .replace("native_side = 16", "native_side = 128")
    .replace("max_sequence_length = 512", f"max_sequence_length = {WORDS // SMALLER}")
)


def load(_model: Model, _options: DeviceOptions) -> "PacedFlux":
    return PacedFlux()


def _work(tokens: float) -> float:
    return tokens * (1 + tokens / AS_DEAR_AS_THE_REST)


class PacedFlux(noop.Noop):
    def render(self, order: RenderOrder, watch: Watch) -> Iterator[Rendered]:
        patches = SMALLER * order.width * order.height / PATCH_PIXELS
        step_seconds = paced.STEP_SECONDS / FASTER * _work(patches + WORDS) / _work(USUAL_TOKENS)
        watch.stage(Stage.ENCODE_PROMPT)
        time.sleep(ENCODE_SECONDS / FASTER)
        for index, seed in enumerate(order.seeds):
            began = time.perf_counter()
            watch.stage(Stage.STEP)
            for step in range(1, order.steps + 1):
                time.sleep(max(0.0, began + step * step_seconds - time.perf_counter()))
                watch.step(index, step, order.steps)
            watch.stage(Stage.DECODE)
            time.sleep(DECODE_SECONDS / FASTER * patches / (USUAL_TOKENS - WORDS))
            seconds = time.perf_counter() - began
            yield Rendered(index, seed, np.zeros((order.height, order.width, 3), np.uint8), seconds)
