"""A pipeline that does nothing, so that everything else can be measured: one tiny black picture per seed."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from fluxfarm.catalog import Model
from fluxfarm.status import Stage
from worker.pipelines import DeviceOptions, Rendered, RenderOrder, Watch

SLUG = "noop"
CATALOGUE = f"""
[models.{SLUG}]
title = "Nothing"
description = "Draws nothing, at once"
release = "1"
pipeline = "benchmarks.noop"
weights = "{SLUG}"
licence = "none"
licence_url = "https://localhost/"
steps = {{ minimum = 1, maximum = 50, default = 1 }}
guidance = {{ minimum = 0, maximum = 10, default = 3.5 }}
max_sequence_length = 512
pixel_step_microseconds = 0.01

[weights.{SLUG}]
location = "nowhere"
native_side = 16
licence = "apache-2.0"
stand_in = true
"""


def load(_model: Model, _options: DeviceOptions) -> "Noop":
    return Noop()


class Noop:
    device = "none"
    made_with: Mapping[str, str] = MappingProxyType({})

    def warm(self) -> None:
        pass

    def prompt_notice(self, _prompt: str) -> str | None:
        return None

    def render(self, order: RenderOrder, watch: Watch) -> Iterator[Rendered]:
        watch.stage(Stage.ENCODE_PROMPT)
        for index, seed in enumerate(order.seeds):
            watch.stage(Stage.STEP)
            watch.step(index, order.steps, order.steps)
            watch.stage(Stage.DECODE)
            yield Rendered(index, seed, np.zeros((order.height, order.width, 3), np.uint8), 0.0)
