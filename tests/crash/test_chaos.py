"""A short seeded chaos of real processes: whatever dies, every prediction that was taken ends once."""

from pathlib import Path

import pytest

from benchmarks.chaos.farm import Size
from benchmarks.chaos.run import Plan, run

KINDS = (
    "worker killed",
    "worker paused past its lease",
    "worker segfault",
    "pipeline raises",
    "maintenance killed",
    "PostgreSQL killed",
    "PostgreSQL's connections terminated",
    "Redis killed",
    "Redis emptied",
    "Redis paused",
    "tokens tripled",
    "tokens halved",
    "API killed mid-request",
    "API killed between commit and token",
    "client gone after it sent",
    "link cut",
    "link a black hole",
    "link half open",
    "all of Redis' connections cut",
    "store answers 500",
)


@pytest.mark.timeout(300)
def test_whatever_dies_every_prediction_ends_once(tmp_path: Path) -> None:
    size = Size(workers=2, lease_seconds=2.0, durable=False)
    report = run(Plan(seed=7, faults=len(KINDS), kinds=KINDS, clients=6, size=size), tmp_path)
    assert report.violations == {}, str(report)
    assert report.tally.acknowledged >= len(KINDS)
    assert report.costs.renders <= report.costs.rendered + report.costs.leases_lost


def test_without_faults_each_is_rendered_once_however_many_tokens_there_are(tmp_path: Path) -> None:
    size = Size(workers=2, lease_seconds=2.0, durable=False)
    kinds = ("tokens tripled", "tokens halved")
    report = run(Plan(seed=7, faults=6, kinds=kinds, clients=6, size=size), tmp_path)
    assert report.violations == {}, str(report)
    assert report.costs.renders == report.costs.rendered <= report.tally.acknowledged


def test_a_rolling_restart_under_load_is_not_noticed_beyond_a_retry(tmp_path: Path) -> None:
    size = Size(workers=2, lease_seconds=2.0, durable=False)
    kinds = ("rolling restart of everything",)
    report = run(Plan(seed=7, faults=1, kinds=kinds, clients=6, size=size), tmp_path)
    assert report.violations == {}, str(report)
    assert set(report.tally.statuses) == {"200"}
    assert report.tally.failures == {}
