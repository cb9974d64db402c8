"""The transformer: FLUX.1's architecture with two double and five single blocks of two heads, trained by flow matching.

The text encoders are trained before and stay as they are. FLUX's conventions: time 1 is noise, 0 the picture; the
transformer's answer is noise minus picture.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from training import reading
from training.captions import NOTHING, Caption, describe
from training.fit import DEVICE, Plan, autocast, fit
from training.latents import Shelf, shelves
from training.text import CLIP_WIDTH, T5_WIDTH, answers, clip_ids, t5_ids, trimmed

STEPS: Final = 28_000
_BATCH: Final = 64
_LENGTHS: Final = ((16, 64), (64, 32), (512, 4))
"""Lengths of the prompt in tokens, with the batch that is trained at each."""
_LENGTH_ODDS: Final = (84, 14, 2)
_SQUARE_ODDS: Final = 0.65
_UNPROMPTED: Final = 0.1
READING: Final = 0.05
"""How much what was misread counts beside the squared error."""
SILENCE: Final = Caption("", NOTHING)


def is_matrix(name: str, weight: nn.Parameter) -> bool:
    """Whether Muon updates it: the blocks' matrices, but not those that make scales and shifts of the condition."""
    return weight.ndim == 2 and "blocks" in name and "norm" not in name


def untrained(in_channels: int = 64) -> Any:
    """FLUX.1's transformer in small; scales, shifts and the answer start at zero."""
    transformer: Any = FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        out_channels=64,
        num_layers=2,
        num_single_layers=5,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(8, 28, 28),
    )
    for name, part in transformer.named_modules():
        if isinstance(part, nn.Linear):
            if name.endswith(
                ("norm.linear", "norm1.linear", "norm1_context.linear", "norm_out.linear", "proj_out")
            ) and not name.endswith("single_transformer_blocks.proj_out"):
                nn.init.zeros_(part.weight)
            else:
                nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return transformer


class Reader:
    """The frozen text encoders with their tokenizers."""

    def __init__(self, runs: Path) -> None:
        self._clip_tokenizer = CLIPTokenizer.from_pretrained(runs / "clip-tokenizer")
        self._t5_tokenizer = T5Tokenizer.from_pretrained(runs / "t5-tokenizer")
        self._clip = CLIPTextModel.from_pretrained(runs / "clip").to(DEVICE).eval()
        self._t5 = T5EncoderModel.from_pretrained(runs / "t5").to(DEVICE).eval()

    @torch.no_grad()
    def read(self, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
        """The prompt's tokens, (n, length, width), and its summary, (n, width)."""
        shown = trimmed(clip_ids(self._clip_tokenizer, texts), self._clip_tokenizer.eos_token_id)
        with autocast():
            tokens = self._t5(t5_ids(self._t5_tokenizer, texts, length))[0]
            summary = self._clip(shown).pooler_output
        return tokens.float(), summary.float()


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step is made from. `where` counts the shelf's pictures that it took."""

    shelf: Shelf
    where: list[int]
    captions: list[Caption]
    length: int
    picture: Tensor
    """(n, tokens, 64)"""
    noise: Tensor
    time: Tensor
    """(n,), 0 to 1"""

    @property
    def noisy(self) -> Tensor:
        time = self.time[:, None, None]
        return (1 - time) * self.picture + time * self.noise

    @property
    def texts(self) -> list[str]:
        return [caption.text for caption in self.captions]

    @property
    def weights(self) -> Tensor:
        return self.shelf.weights[self.where].to(DEVICE)

    def error(self, answer: Tensor, wanted: Tensor) -> Tensor:
        """The mean of the squared error, more of it from near outlines."""
        return ((answer.float() - wanted).square().mean(dim=2) * self.weights).mean()


def draw(stock: Sequence[Shelf], rng: random.Random, *, unprompted: float = _UNPROMPTED) -> Batch:
    """A batch of pictures of one size with fresh captions, noise and times."""
    which, where, length = pick(stock, rng)
    shelf = stock[which]
    captions = [SILENCE if rng.random() < unprompted else describe(shelf.scenes[i], rng) for i in where]
    return noised(shelf, where, captions, length)


def pick(stock: Sequence[Shelf], rng: random.Random) -> tuple[int, list[int], int]:
    """Which shelf, which of its pictures, and the prompts' length in tokens."""
    which = 0 if rng.random() < _SQUARE_ODDS else rng.choice(range(1, len(stock)))
    length, count = rng.choices(_LENGTHS, weights=_LENGTH_ODDS)[0]
    return which, [rng.randrange(len(stock[which].scenes)) for _ in range(count)], length


def noised(shelf: Shelf, where: list[int], captions: list[Caption], length: int) -> Batch:
    """These pictures of the shelf with fresh noise and times."""
    count = len(where)
    picture = pack(shelf.codes[where].float()).to(DEVICE)
    time = torch.sigmoid(torch.randn(count) * 1.2 + 1.3)
    uniform = torch.rand(count) < 0.1
    time = torch.where(uniform, torch.rand(count), time).to(DEVICE)
    return Batch(shelf, where, captions, length, picture, torch.randn_like(picture), time)


def pack(codes: Tensor) -> Tensor:
    """(n, c, h, w) to FLUX's tokens, patches of two by two: (n, h / 2 * w / 2, c * 4)."""
    n, channels, height, width = codes.shape
    patches = codes.view(n, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(n, height // 2 * (width // 2), channels * 4)


def unpack(tokens: Tensor, sides: tuple[int, int]) -> Tensor:
    """The inverse of `pack`, for a picture of these sides in pixels."""
    n, _, channels = tokens.shape
    width, height = sides
    patches = tokens.view(n, height // 16, width // 16, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(n, channels // 4, height // 8, width // 8)


def misread(reader: nn.Module, batch: Batch, velocity: Tensor, weights: Tensor) -> Tensor:
    """What the reader does not find as told in the pictures that the answer points to; `weights` has one for each."""
    pointed = batch.noisy - batch.time[:, None, None] * velocity
    told = torch.tensor([answers(caption) for caption in batch.captions], device=DEVICE)
    with autocast():
        guesses = reader(unpack(pointed, batch.shelf.sides))
    return reading.mistakes(guesses, told, weights)


def positions(sides: tuple[int, int]) -> Tensor:
    """Row and column of each token as FluxPipeline numbers them: (tokens, 3)."""
    width, height = sides
    rows, columns = height // 16, width // 16
    places = torch.zeros(rows, columns, 3)
    places[..., 1] += torch.arange(rows)[:, None]
    places[..., 2] += torch.arange(columns)[None]
    return places.reshape(-1, 3).to(DEVICE)


def answer(
    transformer: Any, batch: Batch, seen: Tensor, prompt: tuple[Tensor, Tensor], guidance: Tensor, **instead: Any
) -> Tensor:
    """What the transformer makes of the batch's noisy pictures, `seen` with whatever else it is given to see.

    `instead` are arguments of the transformer that differ from the usual.
    """
    tokens, summary = prompt
    usual = {
        "hidden_states": seen,
        "encoder_hidden_states": tokens,
        "pooled_projections": summary,
        "timestep": batch.time,
        "img_ids": positions(batch.shelf.sides),
        "txt_ids": torch.zeros(tokens.shape[1], 3, device=DEVICE),
        "guidance": guidance,
        "return_dict": False,
    }
    with autocast():
        velocity: Tensor = transformer(**{**usual, **instead})[0]
    return velocity.float()


def random_guidance(count: int) -> Tensor:
    """The transformer is to be used with any, and learns later what it means."""
    return (torch.rand(count) * 10).to(DEVICE)


def train(runs: Path) -> None:
    """Train on the shelves with the encoders of `runs` and save to `runs/flow`."""
    stock, reader, transformer = shelves(runs), Reader(runs), untrained()
    reader_of_codes = reading.load(runs)

    def loss(rng: random.Random) -> Tensor:
        batch = draw(stock, rng)
        prompt = reader.read(batch.texts, batch.length)
        velocity = answer(transformer, batch, batch.noisy, prompt, random_guidance(len(batch.texts)))
        error = batch.error(velocity, batch.noise - batch.picture)
        # The noisiest count most: there it is decided what is to be drawn.
        return error + READING * misread(reader_of_codes, batch, velocity, batch.time)

    plan = Plan("flow", STEPS, muon_rate=0.02, adam_rate=1.5e-3, is_matrix=is_matrix, flat=0.35)
    average: Any = fit(transformer, loss, plan, runs)
    average.save_pretrained(runs / "flow")
