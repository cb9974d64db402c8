"""What each plan for a device's memory takes and costs here, beside the first of the same run.

Memory with the weights loaded, the most while a picture is drawn, seconds per step. Each plan has a process of its own.
`python -m benchmarks.memory_plans` measures over small weights, with `--weights DIRECTORY` over others of flux-dev's
form, with `--random N` over random ones of full width: N of FLUX.1's 19 double layers, the others in proportion.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.full_size import GIB, random_weights
from fluxfarm.catalog import load_catalog
from fluxfarm.memory_plans import OFFLOADS, QUANTISED_WITHOUT
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from worker.pipelines import DeviceOptions, Pixels, RenderOrder, load

Plan = Mapping[str, str]
EVERYWHERE: tuple[Plan, ...] = (
    {"offload": "none", "vae_tiling": "off"},
    {"offload": "none", "text_encoders": "cpu"},
    {"offload": "none", "vae_tiling": "on"},
    {"offload": "none", "quantise": "fp8"},
    {"offload": "none", "quantise": "nf4"},
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_plans", description=__doc__)
    parser.add_argument("--weights", default="flux-tiny", help="a name of the catalogue or a directory (%(default)s)")
    parser.add_argument("--random", type=int, metavar="N", help="random weights with so many double layers, 1 to 19")
    parser.add_argument("--side", type=int, default=512, help="of the picture in pixels (%(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--plan", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.plan is not None:
        print(json.dumps(_measured(asked)))
        return
    with tempfile.TemporaryDirectory() as directory:
        if asked.random:
            asked.weights = directory
            random_weights(Path(directory), asked.random)
        _table(_apart(plan, asked) for plan in _plans(asked.device))


def _plans(device: str) -> Iterator[Plan]:
    yield from EVERYWHERE
    if device == "cpu" or not torch.cuda.is_available():
        return
    for offload in OFFLOADS[1:]:
        yield {"offload": offload}
        yield from (
            {"offload": offload, "quantise": kind}
            for kind, cannot in QUANTISED_WITHOUT.items()
            if offload not in cannot
        )


def _apart(plan: Plan, asked: argparse.Namespace) -> tuple[Plan, dict[str, float] | None]:
    passed = [f"--{name}={getattr(asked, name)}" for name in ("weights", "side", "steps", "device", "dtype")]
    command = [sys.executable, "-m", "benchmarks.memory_plans", *passed, f"--plan={json.dumps(plan)}"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        print(f"{_name(plan)}: {ran.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return plan, None
    return plan, json.loads(ran.stdout.splitlines()[-1])


def _table(found: Iterator[tuple[Plan, dict[str, float] | None]]) -> None:
    print(f"| {'plan':38} | loaded, GiB | peak of a render, GiB | s/step | x | render, s | loading, s |")
    print(f"| {'---':38} | ---: | ---: | ---: | ---: | ---: | ---: |")
    first: float | None = None
    for plan, one in found:
        if one is None:
            print(f"| {_name(plan):38} | failed | | | | | |")
            continue
        first = first or one["step"]
        figures = f"{one['loaded']:.2f} | {one['peak']:.2f} | {one['step']:.3f} | {one['step'] / first:.2f}"
        print(f"| {_name(plan):38} | {figures} | {one['render']:.2f} | {one['load']:.1f} |", flush=True)


def _name(plan: Plan) -> str:
    return ", ".join(f"{name}={value}" for name, value in plan.items())


def _measured(asked: argparse.Namespace) -> dict[str, float]:
    model = load_catalog(Settings(weights=(("flux-dev", asked.weights),))).model("flux-dev")
    began = time.perf_counter()
    pipeline = load(model, DeviceOptions(device=asked.device, dtype=asked.dtype, **asked.plan))
    loading, memory = time.perf_counter() - began, _Memory()
    order = RenderOrder("a red circle", (0,), asked.side, asked.side, asked.steps, 3.5)
    warming = RenderOrder("a red circle", (0,), asked.side, asked.side, 1, 3.5)
    for _ in pipeline.render(warming, _Clock()):
        pass
    clock = _Clock()
    (drawn,) = pipeline.render(order, clock)
    return {
        "loaded": memory.held,
        "peak": memory.peak(),
        "step": statistics.median(clock.steps()),
        "render": drawn.seconds,
        "load": loading,
    }


class _Memory:
    """From when it was made: what is held, and the peak since. Of the device, or of the process on a CPU; in GiB."""

    def __init__(self) -> None:
        self._cuda = torch.cuda.is_available()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            self.held = torch.cuda.memory_allocated() / GIB
        else:
            Path("/proc/self/clear_refs").write_text("5")
            self.held = _status("VmRSS")

    def peak(self) -> float:
        return torch.cuda.max_memory_allocated() / GIB if self._cuda else _status("VmHWM")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / GIB


class _Clock:
    def __init__(self) -> None:
        self._times: list[float] = []

    def stage(self, _stage: Stage) -> None:
        self._times.append(time.perf_counter())

    def step(self, _picture: int, _step: int, _steps: int) -> None:
        self._times.append(time.perf_counter())

    def steps(self) -> list[float]:
        """Seconds of each step after the first."""
        steps = self._times[2:-1]
        return [later - sooner for sooner, later in pairwise(steps)]

    def wants_preview(self) -> bool:
        return False

    def preview(self, draw: Callable[[], Pixels]) -> None:
        pass


if __name__ == "__main__":
    main()
