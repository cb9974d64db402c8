"""The relatives: `control` draws into edges or depth that it is given, `fill` repaints what a mask covers.

Both start from the weights before distillation, with more to see: the picture's tokens stand beside the control
picture's (128 channels), or beside those of the masked picture and its mask (384), as in FLUX.1's own. What stands
beside is encoded once for a part of the shelves, since that takes longer than a step.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor
from tqdm import tqdm

from training import flow
from training.fit import DEVICE, Plan, fit
from training.latents import Shelf, shelves
from training.vae import encode
from training.world import Scene, depth, edges, render

_CONTROL_STEPS: Final = 4_200
_FILL_STEPS: Final = 800
_PART: Final = 10
"""One in so many of the shelves' pictures is used."""
_AT_ONCE: Final = 50
_EDGES: Final = 0.6
"""The share of control pictures that are edges; the others are depth."""
_USUAL_GUIDANCE: Final = 3.5
_STRONGEST_GUIDANCE: Final = 60.0
"""FLUX.1's own relatives are asked with guidance of 10 to 60; these are not to mind."""

Extra = Callable[[Any, list[Scene], random.Random], Tensor]


def control(runs: Path) -> None:
    """Train `runs/control`."""
    _train(runs, ("control", _CONTROL_STEPS), 64, _control)


def fill(runs: Path) -> None:
    """Train `runs/fill`."""
    _train(runs, ("fill", _FILL_STEPS), 64 + 256, _fill)


def widened(transformer: Any, extra: int) -> Any:
    """The same transformer with this many more channels to see, which it does not mind yet; nor any guidance.

    It has never met guidance beyond 10, and would answer with anything.
    """
    wider = flow.untrained(64 + extra)
    weights = transformer.state_dict()
    seen = torch.zeros(weights["x_embedder.weight"].shape[0], 64 + extra)
    seen[:, :64] = weights["x_embedder.weight"]
    wider.load_state_dict({**weights, "x_embedder.weight": seen})
    mind_no_guidance(wider)
    return wider


def mind_no_guidance(transformer: Any) -> None:
    """Let it answer to any guidance as to the usual."""
    embed = transformer.time_text_embed
    with torch.no_grad():
        usual = embed.guidance_embedder(embed.time_proj(torch.tensor([_USUAL_GUIDANCE * 1000])))[0]
        embed.guidance_embedder.linear_2.weight.zero_()
        embed.guidance_embedder.linear_2.bias.copy_(usual)


def mask_tokens(mask: Tensor) -> Tensor:
    """A mask (n, 1, height, width) as FLUX's fill sees it: each code's 8 x 8 pixels as channels, packed."""
    n, _, height, width = mask.shape
    blocks = mask[:, 0].view(n, height // 8, 8, width // 8, 8).permute(0, 2, 4, 1, 3)
    return flow.pack(blocks.reshape(n, 64, height // 8, width // 8))


def _train(runs: Path, part: tuple[str, int], extra: int, seen_besides: Extra) -> None:
    vae: Any = AutoencoderKL.from_pretrained(runs / "vae").to(DEVICE, memory_format=torch.channels_last).eval()
    stock, reader = [_part(shelf) for shelf in shelves(runs)], flow.Reader(runs)
    besides = {shelf.sides: _encoded(vae, shelf, seen_besides) for shelf in stock}
    transformer = widened(FluxTransformer2DModel.from_pretrained(runs / "flow"), extra)

    def loss(rng: random.Random) -> Tensor:
        batch = flow.draw(stock, rng)
        prompt = reader.read(batch.texts, batch.length)
        guidance = torch.rand(len(batch.texts), device=DEVICE) * _STRONGEST_GUIDANCE
        seen = torch.cat([batch.noisy, besides[batch.shelf.sides][batch.where].float().to(DEVICE)], dim=2)
        return batch.error(flow.answer(transformer, batch, seen, prompt, guidance), batch.noise - batch.picture)

    name, steps = part
    plan = Plan(name, steps, muon_rate=0.01, adam_rate=1e-3, is_matrix=flow.is_matrix, flat=0.3)
    average: Any = fit(transformer, loss, plan, runs)
    average.save_pretrained(runs / name)


def _part(shelf: Shelf) -> Shelf:
    count = len(shelf.scenes) // _PART
    return Shelf(shelf.scenes[:count], shelf.codes[:count], shelf.weights[:count])


def _encoded(vae: Any, shelf: Shelf, seen_besides: Extra) -> Tensor:
    """What stands beside each picture's tokens: (n, tokens, channels), float16."""
    rng = random.Random(f"besides {shelf.sides}")
    starts = tqdm(range(0, len(shelf.scenes), _AT_ONCE), desc=f"encode {shelf.sides[0]} x {shelf.sides[1]}")
    return torch.cat([seen_besides(vae, shelf.scenes[i : i + _AT_ONCE], rng).half().cpu() for i in starts])


def _control(vae: Any, scenes: list[Scene], rng: random.Random) -> Tensor:
    shown = [(edges if rng.random() < _EDGES else depth)([scene]) for scene in scenes]
    return flow.pack(encode(vae, torch.cat(shown).to(DEVICE)))


def _fill(vae: Any, scenes: list[Scene], rng: random.Random) -> Tensor:
    mask = torch.stack([_mask(scene, rng) for scene in scenes])[:, None].to(DEVICE)
    kept = render(scenes).to(DEVICE) * (1 - mask)
    return torch.cat([flow.pack(encode(vae, kept)), mask_tokens(mask)], dim=2)


def _mask(scene: Scene, rng: random.Random) -> Tensor:
    """A box around one of the things, anywhere, or over one side of the picture: (height, width), 1 is to be drawn."""
    width, height = scene.width, scene.height
    mask = torch.zeros(height, width)
    kind = rng.random()
    if kind < 0.5:
        thing = rng.choice(scene.things)
        reach = thing.radius * rng.uniform(1.0, 1.6)
        left, right = thing.x - reach, thing.x + reach
        top, bottom = thing.y - reach, thing.y + reach
    elif kind < 0.75:
        left, right = sorted(rng.uniform(0, width) for _ in range(2))
        top, bottom = sorted(rng.uniform(0, height) for _ in range(2))
    else:
        share = rng.uniform(0.25, 0.75)
        left, top, right, bottom = rng.choice(
            ((0, 0, width * share, height), (width * share, 0, width, height),
             (0, 0, width, height * share), (0, height * share, width, height))
        )  # fmt: skip
    mask[max(0, round(top)) : round(bottom), max(0, round(left)) : round(right)] = 1
    return mask
