"""Which devices a machine has and which worker gets which, without torch."""

from pathlib import Path

import pytest

from fluxfarm.errors import SettingsError
from fluxfarm.local.devices import Assignment, assign, choose_devices, count_devices

TWO = {"CUDA_VISIBLE_DEVICES": "2,3"}
NO_DEVICE = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.parametrize(
    ("models", "devices", "names"),
    [
        (["a"], ["cuda:0", "cuda:1"], ["worker:a@cuda:0", "worker:a@cuda:1"]),
        (["a", "b"], ["cuda:0"], ["worker:a@cuda:0", "worker:b@cuda:0"]),
        (["a", "b"], ["cuda:0", "cuda:1", "cuda:2"], ["worker:a@cuda:0", "worker:b@cuda:1", "worker:a@cuda:2"]),
        (["a"], [], []),
    ],
)
def test_each_device_has_a_worker_and_each_model_too(models: list[str], devices: list[str], names: list[str]) -> None:
    assert [each.name for each in assign(models, devices)] == names


def test_a_worker_that_chooses_its_device_is_named_after_its_model_alone() -> None:
    assert Assignment("a", "auto").name == "worker:a"


@pytest.mark.parametrize(
    ("wanted", "environment", "chosen"),
    [
        ("all", TWO, ["cuda:0", "cuda:1"]),
        ("all", NO_DEVICE, ["cpu"]),
        ("cpu", TWO, ["cpu"]),
        ("none", TWO, []),
        ("1", TWO, ["cuda:1"]),
        ("1,0,1", TWO, ["cuda:1", "cuda:0"]),
    ],
)
def test_devices_are_chosen(wanted: str, environment: dict[str, str], chosen: list[str]) -> None:
    assert choose_devices(wanted, environment) == chosen


@pytest.mark.parametrize(
    ("wanted", "environment", "said"),
    [
        ("0,2", TWO, "this machine has no device 2; it has 0, 1"),
        ("0", NO_DEVICE, "it has no NVIDIA device; use cpu"),
        ("cuda", TWO, "'cuda' must be all, cpu, or numbers"),
        ("0,", TWO, "'0,' must be all, cpu, or numbers"),
    ],
)
def test_says_which_device_is_wrong(wanted: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        choose_devices(wanted, environment)


@pytest.mark.parametrize(("visible", "count"), [("0,1,2", 3), ("GPU-abc", 1), ("-1", 0), ("0,-1,1", 1), ("", 0)])
def test_counts_what_cuda_would_see(visible: str, count: int) -> None:
    assert count_devices({"CUDA_VISIBLE_DEVICES": visible}) == count


def test_asks_the_driver_and_without_it_looks_for_device_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert count_devices({}, tmp_path) == 2
    driver = tmp_path / "nvidia-smi"
    driver.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\necho '  MIG 1g.18gb Device 0: (UUID: MIG-1)'\n"
    )
    driver.chmod(0o755)
    assert count_devices({}, tmp_path) == 1
