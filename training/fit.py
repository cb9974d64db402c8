"""The loop that every part is trained by: progress bar, log of losses, checkpoints to go on from, averaged weights.

What a step draws at random depends on its number alone, so a run that was cut off goes on as if it had not been.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from training.muon import Muon

DEVICE: Final = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_WARM_UP: Final = 40
_REPORT_EVERY: Final = 50
_CHECKPOINT_EVERY: Final = 100
_AVERAGE: Final = 0.997


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast one part is trained."""

    name: str
    steps: int
    muon_rate: float
    adam_rate: float
    is_matrix: Callable[[str, nn.Parameter], bool]
    """Which weights Muon updates; AdamW takes the others."""
    flat: float = 0.4
    """The part of the steps at full rate, before it falls to nothing."""


def autocast() -> AbstractContextManager[Any]:
    return torch.autocast(DEVICE.type, torch.bfloat16)


def _attention() -> AbstractContextManager[Any]:
    """On a CPU the fused kernel's backward pass is slow for so few tokens: without it a step takes a sixth less."""
    return sdpa_kernel(SDPBackend.MATH) if DEVICE.type == "cpu" else nullcontext()


def fit(model: nn.Module, loss: Callable[[random.Random], Tensor], plan: Plan, folder: Path) -> nn.Module:
    """The model's average after `plan.steps` steps on `loss`, going on from the folder's checkpoint where there is one.

    `loss` draws its batch from the generator it is given, and from torch's own, which is seeded for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.to(DEVICE).train()
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimizers = _optimizers(model, plan)
    checkpoint = folder / f"{plan.name}.checkpoint"
    done = _resume(checkpoint, model, average, optimizers)
    with (folder / f"{plan.name}.jsonl").open("a") as log, tqdm(total=plan.steps, initial=done, desc=plan.name) as bar:
        losses: list[float] = []
        for step in range(done, plan.steps):
            losses.append(_step(model, average, optimizers, loss, (plan, step)))
            bar.update()
            if (step + 1) % _REPORT_EVERY == 0:
                mean = sum(losses) / len(losses)
                bar.set_postfix(loss=f"{mean:.4f}")
                log.write(json.dumps({"step": step + 1, "loss": round(mean, 5)}) + "\n")
                log.flush()
                losses.clear()
            if (step + 1) % _CHECKPOINT_EVERY == 0 or step + 1 == plan.steps:
                _save(checkpoint, model, average, optimizers, step + 1)
    return average


def _optimizers(model: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [weight for name, weight in named if plan.is_matrix(name, weight)]
    others = [weight for name, weight in named if not plan.is_matrix(name, weight)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.99), weight_decay=0.0)
    ]
    return [Muon(matrices, plan.muon_rate), *optimizers] if matrices else optimizers


def _step(
    model: nn.Module,
    average: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    loss: Callable[[random.Random], Tensor],
    at: tuple[Plan, int],
) -> float:
    plan, step = at
    torch.manual_seed(step)
    with _attention():
        value = loss(random.Random(f"{plan.name} {step}"))
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, rate in zip(optimizers, _rates(optimizers, plan), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * _share(plan, step)
        optimizer.step()
    keep = min(_AVERAGE, step / (step + 20))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        for kept, now in zip(average.buffers(), model.buffers(), strict=True):
            kept.copy_(now)
    return value.item()


def _rates(optimizers: list[torch.optim.Optimizer], plan: Plan) -> Iterator[float]:
    return (plan.muon_rate if isinstance(optimizer, Muon) else plan.adam_rate for optimizer in optimizers)


def _share(plan: Plan, step: int) -> float:
    """What part of the full rate this step is made at."""
    return min(1.0, (step + 1) / _WARM_UP, (1 - step / plan.steps) / (1 - plan.flat))


def _save(path: Path, model: nn.Module, average: nn.Module, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, model: nn.Module, average: nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location=DEVICE, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])
