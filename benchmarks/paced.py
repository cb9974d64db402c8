"""A pipeline that does nothing, at the pace of FLUX.1 [dev] on a large card."""

import time
from collections.abc import Iterator

import numpy as np

from benchmarks import noop
from fluxfarm.catalog import Model
from fluxfarm.status import Stage
from worker.pipelines import DeviceOptions, Rendered, RenderOrder, Watch

SLUG = "paced"
STEP_SECONDS = 0.16
"""28 steps in 4.5 seconds."""
CATALOGUE = noop.CATALOGUE.replace(noop.SLUG, SLUG).replace(f"benchmarks.{SLUG}", "benchmarks.paced")


def load(_model: Model, _options: DeviceOptions) -> "Paced":
    return Paced()


class Paced(noop.Noop):
    def render(self, order: RenderOrder, watch: Watch) -> Iterator[Rendered]:
        watch.stage(Stage.ENCODE_PROMPT)
        for index, seed in enumerate(order.seeds):
            watch.stage(Stage.STEP)
            for step in range(1, order.steps + 1):
                time.sleep(STEP_SECONDS)
                watch.step(index, step, order.steps)
            watch.stage(Stage.DECODE)
            yield Rendered(index, seed, np.zeros((order.height, order.width, 3), np.uint8), 0.0)
