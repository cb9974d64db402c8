"""How long flux-tiny takes for one picture on one core: `python -m benchmarks.flux_tiny`."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from fluxfarm.catalog import load_catalog
from fluxfarm.settings import Settings
from worker.pipelines import DeviceOptions, Pipeline, Pixels, RenderOrder, load

PROMPT = "a small red star at the top left on a blue background"
SIZES = ((64, 64), (80, 48), (128, 128))
STEPS = (4, 8, 20, 28)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flux_tiny", description=__doc__)
    parser.add_argument("--times", type=int, default=15, help="pictures of which the median is taken (%(default)s)")
    times = parser.parse_args().times
    torch.set_num_threads(1)
    model = load_catalog(Settings(weights=(("flux-dev", "flux-tiny"),))).model("flux-dev")
    pipeline = load(model, DeviceOptions(device="cpu"))
    pipeline.warm()
    seconds = {
        f"{width} x {height}, {steps} steps": _median(pipeline, (width, height), steps, times)
        for width, height in SIZES
        for steps in STEPS
    }
    for name, median in seconds.items():
        print(f"{name:24} {median * 1000:7.1f} ms")
    print(json.dumps({name: round(median, 4) for name, median in seconds.items()}))


def _median(pipeline: Pipeline, size: tuple[int, int], steps: int, times: int) -> float:
    order = RenderOrder(prompt=PROMPT, seeds=(0,), width=size[0], height=size[1], steps=steps, guidance=3.5)
    return statistics.median(_seconds(pipeline, order) for _ in range(times))


def _seconds(pipeline: Pipeline, order: RenderOrder) -> float:
    began = time.perf_counter()
    for _ in pipeline.render(order, _Unwatched()):
        pass
    return time.perf_counter() - began


class _Unwatched:
    def stage(self, _stage: object) -> None:
        pass

    def step(self, _picture: int, _step: int, _steps: int) -> None:
        pass

    def wants_preview(self) -> bool:
        return False

    def preview(self, _draw: Callable[[], Pixels]) -> None:
        pass


if __name__ == "__main__":
    main()
