"""Who runs a data directory: told while it is true, and not a moment longer."""

import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from fluxfarm.local.running import RUNNING, DataDirectoryTaken, RunningFarm, announce, only_one, running

FARM = RunningFarm("http://127.0.0.1:1", "key", "postgresql://", "redis://", 1)


def test_a_farm_is_found_while_it_runs(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    with only_one(tmp_path):
        assert running(tmp_path) is None
        announce(tmp_path, FARM)
        assert running(tmp_path) == FARM
        assert stat.S_IMODE((tmp_path / RUNNING).stat().st_mode) == 0o600
    assert running(tmp_path) is None


def test_what_a_killed_one_left_does_not_count_even_while_the_next_one_starts(tmp_path: Path) -> None:
    with only_one(tmp_path):
        pass
    (tmp_path / RUNNING).write_text(json.dumps(asdict(FARM)))
    assert running(tmp_path) is None
    with only_one(tmp_path):
        assert running(tmp_path) is None


def test_a_second_holder_is_refused_and_told_about_the_first(tmp_path: Path) -> None:
    with only_one(tmp_path) as tell:
        tell("http://127.0.0.1:8000")
        with pytest.raises(DataDirectoryTaken, match=r"process \d+, http://127\.0\.0\.1:8000\); stop it first"):
            only_one(tmp_path).__enter__()
