"""What doctor says of a device's memory, with a driver's program that we play."""

import importlib.util
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from fluxfarm.catalog import BUILT_IN, tried_out
from fluxfarm.cli.doctor import _devices, _packages
from fluxfarm.settings import Settings

REAL = Settings(models=("flux-dev",))


@pytest.mark.parametrize(
    ("mebibytes", "said"),
    [
        (81559, "OFFLOAD=none, 33.9 GiB"),
        (32607, "OFFLOAD=model, 24.7 GiB, or all of it on the device with FLUXFARM_QUANTISE=fp8"),
        (16376, "OFFLOAD=group, 4.2 GiB, or all of it on the device with FLUXFARM_QUANTISE=nf4"),
        (8192, "OFFLOAD=group, 4.2 GiB"),
        (4000, "OFFLOAD=sequential, 2.8 GiB"),
        (2048, "does not fit, 2.8 GiB"),
    ],
)
def test_the_fastest_plan_that_fits_is_named(
    mebibytes: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(mebibytes, monkeypatch, tmp_path)
    assert _devices(REAL)[0].found.endswith(f"flux-dev: {prefixed(said)}")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"offload": "none"}, "does not fit, 33.9 GiB, or all of it on the device with FLUXFARM_QUANTISE=fp8"),
        ({"offload": "none", "text_encoders": "cpu"}, "OFFLOAD=none, 24.8 GiB"),
        ({"quantise": "fp8"}, "OFFLOAD=none, 19.6 GiB"),
        ({"quantise": "nf4", "vae_tiling": "on"}, "OFFLOAD=none, 12.2 GiB"),
    ],
)
def test_it_goes_by_the_settings(
    chosen: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(32607, monkeypatch, tmp_path)
    assert _devices(replace(REAL, **chosen))[0].found.endswith(f"flux-dev: {prefixed(said)}")


def test_who_tries_stand_ins_out_is_told_what_real_weights_would_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play(81559, monkeypatch, tmp_path)
    told = _devices(tried_out(Settings()))[0].found
    assert told.startswith("80 GiB on the largest of 1; stand-ins fit, and real weights so: flux-dev, flux-krea-dev, ")
    assert told.endswith("flux-redux-dev: FLUXFARM_OFFLOAD=none, 34.8 GiB")


def test_a_model_without_a_card_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    play(81559, monkeypatch, tmp_path)
    content = tomllib.loads(BUILT_IN.read_text())["models"]["flux-dev"]
    lines = "".join(f"{name} = {json.dumps(content[name])}\n" for name in content if isinstance(content[name], str))
    bounds = "steps = { minimum = 1, maximum = 50, default = 28 }\nmax_sequence_length = 512\n"
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f"[models.mine]\n{lines}{bounds}pixel_step_microseconds = 1\n")
    told = _devices(Settings(catalog=catalog, models=("flux-dev", "mine")))[0].found
    assert told.endswith("mine: has no card that says how large it is")


def prefixed(said: str) -> str:
    return f"FLUXFARM_{said}" if said.startswith("OFFLOAD") else said


def play(mebibytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A driver's program that tells of one device with so much memory."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho {mebibytes}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_a_library_for_fewer_bits_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _packages(Settings()).remedy is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchao" else name)
    assert _packages(Settings()).remedy is None
    found = _packages(Settings(quantise="fp8"))
    assert found.found == "no torchao"
    assert "worker,quantised" in str(found.remedy)


def test_no_device_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no NVIDIA device" in _devices(REAL)[0].found
