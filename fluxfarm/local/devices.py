"""The devices of this machine, found without torch, and which worker gets which of them and which model."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxfarm.errors import SettingsError

ALL, CPU, NONE, AUTO = "all", "cpu", "none", "auto"
NUMBERS = re.compile(r"[0-9]+(,[0-9]+)*", re.ASCII)
LISTED = re.compile(r"^GPU \d+:", re.MULTILINE)
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """One worker process: its models and its device, in the words of `FLUXFARM_DEVICE`."""

    models: tuple[str, ...]
    device: str

    @property
    def name(self) -> str:
        more = f"+{len(self.models) - 1}" if len(self.models) > 1 else ""
        at = "" if self.device == AUTO else f"@{self.device}"
        return f"worker:{self.models[0]}{more}{at}"


def assign(groups: Sequence[tuple[str, ...]], devices: Sequence[str]) -> list[Assignment]:
    """A worker for each device, and more where that leaves a group of models unserved; groups take turns."""
    if not devices:
        return []
    count = max(len(groups), len(devices))
    return [Assignment(groups[number % len(groups)], devices[number % len(devices)]) for number in range(count)]


def choose_devices(wanted: str, environment: Mapping[str, str]) -> list[str]:
    """What `--devices` means on this machine; a machine without NVIDIA devices renders on its processor.

    Raises:
        SettingsError: it is no such list, or names a device that is not there.

    """
    if wanted in (CPU, NONE):
        return [CPU] if wanted == CPU else []
    found = count_devices(environment)
    if wanted == ALL:
        return [f"cuda:{number}" for number in range(found)] or [CPU]
    if not NUMBERS.fullmatch(wanted):
        raise SettingsError(f"--devices: {wanted!r} must be all, cpu, or numbers of devices such as 0,1")
    numbers = list(dict.fromkeys(map(int, wanted.split(","))))
    if absent := [number for number in numbers if number >= found]:
        there = f"it has {', '.join(map(str, range(found)))}" if found else "it has no NVIDIA device; use cpu"
        raise SettingsError(f"--devices: this machine has no device {absent[0]}; {there}")
    return [f"cuda:{number}" for number in numbers]


def count_devices(environment: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """How many NVIDIA devices a process with this environment can use."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA itself stops at the first entry that is none.
        named = [word.strip() for word in visible.split(",")]
        usable = [word for word in named if word]
        return usable.index("-1") if "-1" in usable else len(usable)
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S607 - wherever the driver put it
    except (OSError, subprocess.SubprocessError):
        return len(list(devices.glob("nvidia[0-9]*")))
    return len(LISTED.findall(listed.stdout))


def memory_gib() -> list[float]:
    """GiB of each NVIDIA device of this machine; empty where the driver's own program tells of none."""
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603 - words of ours
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) / 1024 for line in listed.stdout.split() if line.isdigit()]
