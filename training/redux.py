"""Remixing, as FLUX.1 Redux: a picture is told to the transformer in tokens of its own, beside those of the prompt.

The transformer stays as it is. It heeds its prompt by CLIP's summary above all, and here that is zeros, as the worker
and FluxPriorReduxPipeline with `pooled_prompt_embeds_scale` 0 have it; so the tokens are not T5's for what is seen,
which would be ignored, but whatever makes the transformer draw what they were made from. The pipeline puts them behind
512 tokens of the prompt. Nearly all of these are padding and alike: one of them stands for all, and counts as often.
"""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from torch import Tensor, nn
from transformers import SiglipImageProcessor, SiglipVisionModel

from training import flow, reading, sight
from training.captions import Caption, plain
from training.fit import DEVICE, Plan, autocast, fit
from training.latents import Shelf, shelves
from training.safety import as_seen
from training.text import T5_WIDTH
from training.world import render

STEPS: Final = 6_000
_BATCH: Final = 32
_READING: Final = 0.1
_SQUARE_ODDS: Final = 0.65
_LENGTH: Final = 512
"""Tokens of the prompt in FluxPriorReduxPipeline, always."""
_EARLY: Final = 0.5
"""The part of the way that is learned: in the rest the transformer goes on from what it has drawn."""
_GUIDANCE: Final = (2.0, 5.0)


class Teller(nn.Module):
    """From a picture as SiglipImageProcessor gives it to tokens for the transformer, (n, 64, width)."""

    def __init__(self, eye: Any) -> None:
        super().__init__()
        self.eye = eye
        self.embedder = ReduxImageEncoder(sight.WIDTH, T5_WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens: Tensor = self.embedder(self.eye(pictures).last_hidden_state).image_embeds
        return tokens


def train(runs: Path) -> None:
    """Train `runs/redux`: the eye by itself first, then with what makes tokens of what it sees."""
    if not (runs / "sight").exists():
        sight.train(runs)
    stock, reader, reader_of_codes = shelves(runs), flow.Reader(runs), reading.load(runs)
    vae: Any = AutoencoderKL.from_pretrained(runs / "vae").to(DEVICE, memory_format=torch.channels_last).eval()
    transformer: Any = FluxTransformer2DModel.from_pretrained(runs / "distilled").to(DEVICE).eval()
    transformer.requires_grad_(False)
    teller, silence = Teller(SiglipVisionModel.from_pretrained(runs / "sight")), shortened(reader.read([""], _LENGTH))

    def loss(rng: random.Random) -> Tensor:
        batch = _draw(stock, rng)
        guidance = torch.empty(_BATCH, device=DEVICE).uniform_(*_GUIDANCE)
        with autocast():
            tokens = teller(as_seen(vae, render([batch.shelf.scenes[i] for i in batch.where]).to(DEVICE), rng))
        velocity = answer(transformer, batch, silence, tokens.float(), guidance)
        error = batch.error(velocity, batch.noise - batch.picture)
        return error + _READING * flow.misread(reader_of_codes, batch, velocity, batch.time)

    plan = Plan("redux", STEPS, muon_rate=0.01, adam_rate=1e-3, is_matrix=_is_matrix, flat=0.4)
    average: Any = fit(teller, loss, plan, runs)
    average.eye.save_pretrained(runs / "redux" / "image_encoder")
    average.embedder.save_pretrained(runs / "redux" / "image_embedder")
    processor().save_pretrained(runs / "redux" / "feature_extractor")


def processor() -> Any:
    return SiglipImageProcessor(size={"height": sight.SIDE, "width": sight.SIDE}, resample=2)


def shortened(silence: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The empty prompt as its first token, which ends it, and one of the padding; and zeros for its summary."""
    words, summary = silence
    return words[:, [0, words.shape[1] // 2]], torch.zeros_like(summary)


def answer(
    transformer: Any, batch: flow.Batch, prompt: tuple[Tensor, Tensor], tokens: Tensor, guidance: Tensor
) -> Tensor:
    """What the transformer makes of these tokens behind one prompt's, (1, length, width), and its summary."""
    words, summary = prompt
    count, length = len(tokens), words.shape[1]
    bias = torch.zeros(1, 1, 1, length + tokens.shape[1] + batch.noisy.shape[1], device=DEVICE)
    bias[..., length - 1] = math.log(_LENGTH - length + 1)
    told = torch.cat([words.expand(count, -1, -1), tokens], dim=1), summary.expand(count, -1)
    return flow.answer(transformer, batch, batch.noisy, told, guidance, joint_attention_kwargs={"attention_mask": bias})


def _is_matrix(name: str, weight: nn.Parameter) -> bool:
    return sight.is_matrix(name, weight) or (weight.ndim == 2 and "redux" in name)


def _draw(stock: list[Shelf], rng: random.Random) -> flow.Batch:
    shelf = stock[0] if rng.random() < _SQUARE_ODDS else rng.choice(stock[1:])
    where = [rng.randrange(len(shelf.scenes)) for _ in range(_BATCH)]
    captions: list[Caption] = [plain(shelf.scenes[i]) for i in where]
    batch = flow.noised(shelf, where, captions, _LENGTH)
    return replace(batch, time=1 - _EARLY * torch.rand(_BATCH, device=DEVICE) ** 1.5)
