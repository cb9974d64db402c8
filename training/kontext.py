"""Editing by instruction, as FLUX.1 Kontext: the picture to edit stands behind the noisy one as more tokens.

They have the same rows and columns, and a first number of 1 where the others have 0; of the answer the first half
counts. It goes on from the distilled weights and is taught by walks through the world, one edit after another, so that
each picture that is encoded is both what an edit starts from and what one should lead to.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor

from training import edits, flow, held_out, reading
from training.captions import Caption, nonsense, plain
from training.edits import Edit
from training.fit import DEVICE, Plan, fit
from training.latents import Shelf, encoded
from training.pictures import SIDES, scenes
from training.relatives import mind_no_guidance
from training.world import Scene

STEPS: Final = 4_500
_BATCH: Final = 32
"""At the most: more steps teach more here than larger ones."""
_WALKS: Final = 5_000
_WALKS_OTHER: Final = 500
"""Through squares, and through each of the other sides."""
_EDITS: Final = 7
"""In a walk."""
_TWO: Final = 0.35
_ASTRAY: Final = 0.6
"""How often a noisy picture is a blend with another."""
_UNEDITED: Final = 0.5
"""How often the other is the one to be edited."""
_UNTOLD: Final = 0.04
"""How often nothing is asked, or nothing that means anything, and the picture is to stay as it is."""
_WIDEST_GUIDANCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Walks:
    """The edits of all walks of the same sides."""

    edits: list[Edit]
    before: Tensor
    """Codes of what each edit starts from, (n, 16, height / 8, width / 8), float16."""
    after: Shelf
    same: Shelf
    """What each edit starts from, as if it were to be drawn."""


def train(runs: Path) -> None:
    """Teach a copy of `runs/distilled` and save it to `runs/kontext`."""
    stock, reader, reader_of_codes = _walks(runs), flow.Reader(runs), reading.load(runs)
    transformer: Any = FluxTransformer2DModel.from_pretrained(runs / "distilled")
    mind_no_guidance(transformer)

    def loss(rng: random.Random) -> Tensor:
        batch, before = _draw(stock, rng)
        prompt = reader.read(batch.texts, batch.length)
        guidance = torch.rand(len(batch.texts), device=DEVICE) * _WIDEST_GUIDANCE
        velocity = answer(transformer, batch, before, prompt, guidance)
        error = batch.error(velocity, batch.noise - batch.picture)
        return error + flow.READING * flow.misread(reader_of_codes, batch, velocity, batch.time)

    plan = Plan("kontext", STEPS, muon_rate=0.01, adam_rate=1e-3, is_matrix=flow.is_matrix, flat=0.4)
    average: Any = fit(transformer, loss, plan, runs)
    average.save_pretrained(runs / "kontext")


def answer(
    transformer: Any, batch: flow.Batch, before: Tensor, prompt: tuple[Tensor, Tensor], guidance: Tensor
) -> Tensor:
    """As FluxKontextPipeline asks: what is to be edited behind what is drawn."""
    here = flow.positions(batch.shelf.sides)
    there = here.clone()
    there[:, 0] = 1
    seen = torch.cat([batch.noisy, before], dim=1)
    return flow.answer(transformer, batch, seen, prompt, guidance, img_ids=torch.cat([here, there]))[:, : len(here)]


def _draw(stock: list[Walks], rng: random.Random) -> tuple[flow.Batch, Tensor]:
    which, where, length = flow.pick([walks.after for walks in stock], rng)
    walks, some, untold = stock[which], where[:_BATCH], rng.random() < _UNTOLD
    captions = [_told(walks.edits[i], rng, untold=untold) for i in some]
    batch = flow.noised(walks.same if untold else walks.after, some, captions, length)
    before = flow.pack(walks.before[some].float()).to(DEVICE)
    return astray(batch, before if rng.random() < _UNEDITED else batch.picture.roll(1, dims=0)), before


def astray(batch: flow.Batch, other: Tensor) -> flow.Batch:
    """The batch with some of its noisy pictures on the way to a blend with another, and its answers back from there.

    What is to be drawn is known from what is to be edited. On the straight way a half-drawn picture tells it as well,
    and whoever learns to trust that draws on whatever mistakes the first steps made.
    """
    time = batch.time[:, None, None].clamp(min=0.02)
    share = torch.rand_like(time) * (torch.rand_like(time) < _ASTRAY)
    share = torch.minimum(share * (1 - time) / time, torch.ones_like(time))
    return replace(batch, noise=batch.noise + share * (other - batch.picture))


def _told(edit: Edit, rng: random.Random, *, untold: bool) -> Caption:
    """What is asked, with all that the picture should then show."""
    if untold:
        return Caption(rng.choice(("", nonsense(rng))), plain(edit.before).told)
    return Caption(edits.instruction(edit, rng), plain(edit.after).told)


def _walks(runs: Path) -> list[Walks]:
    """Walk and encode, or read what was encoded before."""
    path = runs / "walks.pt"
    taught = [walked(sides, _WALKS if sides == SIDES[0] else _WALKS_OTHER) for sides in SIDES]
    if not path.exists():
        vae = AutoencoderKL.from_pretrained(runs / "vae").to(DEVICE, memory_format=torch.channels_last).eval()
        torch.save([encoded(vae, passed(walks)) for walks in taught], path)
    codes = torch.load(path, weights_only=True)
    return [_shelved(walks, *each) for walks, each in zip(taught, codes, strict=True)]


def walked(sides: tuple[int, int], count: int) -> list[list[Edit]]:
    """Walks through pictures of these sides that never show what is held out."""
    rng, never = random.Random(f"walks {sides}"), held_out.load()
    starts = scenes(rng, sides, count, two=_TWO)
    return [list(edits.walk(rng, start, _EDITS, lambda scene: not held_out.shows(scene, never))) for start in starts]


def passed(walks: list[list[Edit]]) -> list[Scene]:
    """All scenes of the walks, each walk's start before what its edits make."""
    return [scene for walk in walks for scene in (walk[0].before, *(edit.after for edit in walk))]


def _shelved(walks: list[list[Edit]], codes: Tensor, weights: Tensor) -> Walks:
    ways = [edit for walk in walks for edit in walk]
    start = torch.arange(len(codes)).view(-1, _EDITS + 1)[:, :-1].flatten()
    after = Shelf([edit.after for edit in ways], codes[start + 1], weights[start + 1])
    return Walks(ways, codes[start], after, Shelf([edit.before for edit in ways], codes[start], weights[start]))
