"""A pipeline without a model, whose manners are chosen by the first word of the prompt; for tests of the worker.

`VILLAINS` names a directory: what happens is written to `events` there, and `slow` waits for files to appear in it.
A manner that ends with `-once` is shown the first time only. `VILLAIN_FAILS` makes a worker fail at everything.
"""

import ctypes
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fluxfarm.catalog import Model
from fluxfarm.errors import WorkerFault
from fluxfarm.status import Stage
from worker.pipelines import DeviceOptions, Pixels, Rendered, RenderOrder, Watch

STEPS = 4
STEP_SECONDS = 0.005


def load(model: Model, _options: DeviceOptions) -> "Villain":
    if model.weights.location == "broken":
        raise WorkerFault("The weights are broken.")
    return Villain(Path(os.environ["VILLAINS"]))


class Villain:
    device = "none"
    made_with: Mapping[str, str] = MappingProxyType({})

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def warm(self) -> None:
        pass

    def prompt_notice(self, _prompt: str) -> str | None:
        return None

    def render(self, order: RenderOrder, watch: Watch) -> Generator[Rendered, None, None]:
        manner, _, name = order.prompt.partition(" ")
        self._tell("begin", name)
        watch.stage(Stage.ENCODE_PROMPT)
        for index, seed in enumerate(order.seeds):
            watch.stage(Stage.STEP)
            self._tell(f"picture {index}", name)
            self._behave(manner, name, watch, index)
            for step in range(STEPS):
                watch.step(index, step + 1, STEPS)
            watch.stage(Stage.DECODE)
            yield Rendered(index, seed, _picture(order, seed, noisy=manner == "works"), 0.001)
        self._tell("done", name)

    def _behave(self, manner: str, name: str, watch: Watch, index: int) -> None:
        if manner.endswith("-once"):
            manner = manner.removesuffix("-once") if self._first_time(name) else "fast"
        if "VILLAIN_FAILS" in os.environ:
            _fault()
        if manner == "works":
            for step in range(STEPS):
                watch.step(index, step + 1, STEPS)
                time.sleep(STEP_SECONDS)
        elif manner == "slow":
            while not (self._directory / f"{name}-{index}").exists():
                watch.step(index, 1, STEPS)
                time.sleep(0.01)
        elif manner != "fast":
            MISDEEDS[manner]()

    def _first_time(self, name: str) -> bool:
        try:
            (self._directory / f"{name}.shown").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _tell(self, event: str, name: str) -> None:
        line = json.dumps({"at": time.time(), "pid": os.getpid(), "event": event, "name": name}) + "\n"
        descriptor = os.open(self._directory / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _picture(order: RenderOrder, seed: int, *, noisy: bool) -> Pixels:
    shape = (order.height, order.width, 3)
    if noisy:
        return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return np.full(shape, seed % 256, np.uint8)


def _raise() -> None:
    raise ValueError("a bug")


def _fault() -> None:
    raise WorkerFault("The device is gone.")


def _hog() -> None:
    """Take memory until there is none, by a limit that is lifted again."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, limits[1]))
    taken = []
    try:
        while True:
            taken.append(bytearray(2**22))
    finally:
        taken.clear()
        resource.setrlimit(resource.RLIMIT_AS, limits)


MISDEEDS: dict[str, Callable[[], object]] = {
    "raises": _raise,
    "faulty": _fault,
    "hangs": lambda: time.sleep(600),
    # A function of a `PyDLL` keeps the GIL, as a hung device call may.
    "hangs-with-gil": lambda: ctypes.PyDLL(None).sleep(600),
    "kills": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exits": lambda: os._exit(3),
    "crashes": lambda: ctypes.string_at(0),
    "hogs": _hog,
}
