"""What doctor says of a device's memory, with a driver's program that we play."""

from pathlib import Path

import pytest

from fluxfarm.cli.doctor import _devices
from fluxfarm.settings import Settings

REAL = Settings(models=("flux-dev",))


@pytest.mark.parametrize(
    ("mebibytes", "said"),
    [
        (81559, "OFFLOAD=none"),
        (32607, "OFFLOAD=model"),
        (8192, "OFFLOAD=group"),
        (4500, "OFFLOAD=sequential"),
        (2048, "does not fit"),
    ],
)
def test_the_fastest_plan_that_fits_is_named(
    mebibytes: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho {mebibytes}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said in _devices(REAL)[0].found


def test_no_device_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no NVIDIA device" in _devices(REAL)[0].found
