"""Weights start only under a licence that was accepted and with the checks that it demands."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluxfarm.catalog import BUILT_IN, Model, load_catalog
from fluxfarm.errors import SettingsError
from fluxfarm.safety_policy import Policy
from fluxfarm.settings import Settings
from fluxfarm.starting import require

ROOT = Path(__file__).parents[2]
TINY = str(BUILT_IN.parent / "weights" / "flux-tiny")
CHECKER = ("some/checker",)
DEV = {"weights": (("flux-dev", "/models/FLUX.1-dev"),)}
SCHNELL = {"models": ("flux-schnell",)}
STAND_IN = {"weights": (("flux-dev", "flux-tiny"),)}
ACCEPTED: dict[str, Any] = {"bfl_license": "non-commercial"}


def model(**chosen: Any) -> tuple[Model, Settings]:
    settings = Settings(**{"models": ("flux-dev",), **chosen})
    return load_catalog(settings).model(settings.models[0]), settings


@pytest.mark.parametrize("chosen", [
    STAND_IN,
    {**STAND_IN, "safety_checker": ()},
    {**DEV, **ACCEPTED, "safety_checker": CHECKER},
    {**DEV, "bfl_license": "commercial:BFL-2026-17", "safety_checker": CHECKER},
    {**SCHNELL, "safety_checker": CHECKER},
    {**SCHNELL, "safety_checker": ()},
])  # fmt: skip
def test_what_may_start(chosen: dict[str, Any]) -> None:
    require(*model(**chosen))


@pytest.mark.parametrize(("chosen", "why"), [
    ({**DEV, "safety_checker": CHECKER}, "FLUXFARM_BFL_LICENSE"),
    ({**DEV, **ACCEPTED}, "start with one only"),
    ({**DEV, **ACCEPTED, "safety_checker": ()}, "start with one only"),
    (SCHNELL, "FLUXFARM_SAFETY_CHECKER=none"),
    ({**STAND_IN, "safety_checker": (), "safety_policy": "enforced"}, "deployment's policy"),
])  # fmt: skip
def test_what_may_not_start(chosen: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        require(*model(**chosen))


def test_a_licence_goes_with_the_weights_and_with_what_lies_over_them(tmp_path: Path) -> None:
    dev, settings = model(**DEV, safety_checker=CHECKER)
    assert dev.safety is Policy.ENFORCED
    assert model(**STAND_IN)[0].safety is None
    over = replace(dev, weights=replace(dev.weights, licence="apache-2.0", base=dev.weights))
    with pytest.raises(SettingsError):
        require(over, settings)
    file = tmp_path / "catalog.toml"
    file.write_text(
        '[weights.flux-dev]\nlocation = "a/b"\nnative_side = 1024\nlicence = "flux-1-dev"\nsafety = "default_on"\n'
    )
    reviewed, unchecked = model(catalog=file, safety_checker=(), **ACCEPTED)
    assert reviewed.safety is Policy.DEFAULT_ON, "an operator who has every picture reviewed"
    with pytest.raises(SettingsError, match="start with one only"):
        require(reviewed, unchecked)


@pytest.mark.parametrize("licence", [
    "flux-1-dev", "FLUX-1-dev", "flux-1-dev-non-commercial-license", "FLUX.1 [dev] Non-Commercial License",
    "FluxDev Non-Commercial License Agreement", "flux-1-krea-dev",
])  # fmt: skip
def test_the_licence_is_known_however_it_is_written(tmp_path: Path, licence: str) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(f'[weights.flux-schnell]\nlocation = "my/own"\nnative_side = 1024\nlicence = "{licence}"\n')
    found, settings = model(**SCHNELL, catalog=file, safety_checker=CHECKER)
    assert found.safety is Policy.ENFORCED
    with pytest.raises(SettingsError, match="FLUXFARM_BFL_LICENSE"):
        require(found, settings)


@pytest.mark.parametrize("there", [
    "black-forest-labs/FLUX.1-dev", "Black-Forest-Labs/flux.1-dev",
    "/cache/hub/models--black-forest-labs--FLUX.1-dev/snapshots/0ef5fff"
])  # fmt: skip
def test_a_licence_is_not_left_behind_under_another_name(there: str) -> None:
    dev = {**SCHNELL, "weights": (("flux-schnell", there),), "safety_checker": CHECKER}
    assert model(**dev)[0].safety is Policy.ENFORCED
    with pytest.raises(SettingsError, match="FLUXFARM_BFL_LICENSE"):
        require(*model(**dev))


@pytest.mark.parametrize("value", ["yes", "commercial", "commercial:", "commercial: ", "noncommercial"])
def test_other_words_are_not_taken_for_a_licence(value: str) -> None:
    with pytest.raises(SettingsError, match="must be non-commercial, or commercial:"):
        Settings.from_environment({"FLUXFARM_BFL_LICENSE": value})


@pytest.mark.parametrize("value", ["85", "1.01", "0", "nan", "-0.5", "high"])
def test_a_threshold_that_no_score_can_reach_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="FLUXFARM_SAFETY_THRESHOLD"):
        Settings.from_environment({"FLUXFARM_SAFETY_THRESHOLD": value})


def started(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUXFARM_")}
    told = {f"FLUXFARM_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", *words], env={**kept, **told}, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_worker_says_in_five_lines_what_is_forbidden_and_where_to_ask(tmp_path: Path) -> None:
    weights = {"weights": f"flux-dev={TINY}", "safety_checker": "a/b", "data_dir": str(tmp_path)}
    ended = started("worker", "--model", "flux-dev", **weights)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 1
    assert [line["event"] for line in lines] == ["the worker cannot start"] * 5
    said = "\n".join(line["reason"] for line in lines)
    for word in ("non-commercial", "forbids", "production", "commercial:REFERENCE", "https://bfl.ai/licensing"):
        assert word in said
    whole = started("fluxfarm.cli", "up", "--port", "0", **weights)
    assert whole.returncode == 1
    assert said in whole.stderr


def test_the_notice_names_all_that_can_be_loaded() -> None:
    notice = (ROOT / "NOTICE").read_text()
    settings = Settings(models=tuple(load_models()))
    for each in load_catalog(settings).models.values():
        for location in (each.weights.location, each.weights.depth_estimator):
            assert location is None or location in notice


def load_models() -> list[str]:
    content = BUILT_IN.read_text()
    return [line.removeprefix("[models.").rstrip("]") for line in content.splitlines() if line.startswith("[models.")]
