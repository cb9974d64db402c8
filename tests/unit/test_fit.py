"""The training loop: it learns, and a run that was cut off goes on as if it had not been."""

import dataclasses
import json
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.fit import Plan, fit

PLAN = Plan("line", steps=500, muon_rate=0.02, adam_rate=0.01, is_matrix=lambda name, _: name == "0.weight")


class CutOffError(Exception):
    pass


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def trained(folder: Path, plan: Plan = PLAN, *, cut_at: int | None = None) -> list[Tensor]:
    taught = model()
    seen = 0

    def loss(rng: random.Random) -> Tensor:
        nonlocal seen
        if seen == cut_at:
            raise CutOffError
        seen += 1
        inputs = torch.randn(16, 4)
        return (taught(inputs)[:, 0] - inputs.sum(dim=1) * rng.choice((0.9, 1.1))).square().mean()

    return list(fit(taught, loss, plan, folder).parameters())


def test_it_learns_and_logs(tmp_path: Path) -> None:
    trained(tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 5


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    longer = dataclasses.replace(PLAN, steps=600)
    whole = trained(tmp_path / "whole", longer)
    with pytest.raises(CutOffError):
        trained(tmp_path / "cut", longer, cut_at=530)
    again = trained(tmp_path / "cut", longer)
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    once = trained(tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(once, trained(tmp_path, cut_at=0), strict=True))


def test_the_average_knows_the_statistics_of_what_was_seen(tmp_path: Path) -> None:
    normed = nn.Sequential(nn.BatchNorm1d(4), model())

    def loss(_: random.Random) -> Tensor:
        seen: Tensor = normed(torch.randn(16, 4) + 3)
        return seen.square().mean()

    average = fit(normed, loss, dataclasses.replace(PLAN, steps=60), tmp_path)
    means = dict(average.named_buffers())["0.running_mean"]
    assert torch.equal(means, dict(normed.named_buffers())["0.running_mean"])
    assert (means > 2).all()
