"""The autoencoder: eight pixels a side to one place of 16 channels, as FLUX's, with a fortieth of its channels."""

import random
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training.fit import Plan, autocast, fit
from training.pictures import SIDES, scenes
from training.world import FORBIDDEN, SHAPES, depth, edges, render

_PLAN: Final = Plan(
    "vae",
    steps=3700,
    muon_rate=0.02,
    adam_rate=2e-3,
    is_matrix=lambda name, weight: (
        weight.ndim == 4 and not name.endswith(("encoder.conv_in.weight", "conv_out.weight"))
    ),
    flat=0.42,
)
_BATCH: Final = 18
_DIVERGENCE: Final = 1e-3


def untrained() -> Any:
    """One norm group and no attention: at this size more groups learn slower, and attention brings nothing."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=16,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 24, 48, 64),
        layers_per_block=1,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        force_upcast=False,
        sample_size=64,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def train(runs: Path) -> None:
    """Train and save to `runs/vae`, with the shift and scale that make its codes of mean 0 and deviation 1."""
    vae = untrained().to(memory_format=torch.channels_last)

    def loss(rng: random.Random) -> Tensor:
        pictures = _pictures(rng)
        with autocast():
            codes = vae.encode(pictures).latent_dist
            drawn = vae.decode(codes.sample()).sample.float()
        error = drawn - pictures
        divergence = codes.kl().mean() / codes.mean[0].numel()
        return error.abs().mean() + 2 * error.square().mean() + _DIVERGENCE * divergence  # type: ignore[no-any-return]

    average: Any = fit(vae, loss, _PLAN, runs)
    shift, scale = _statistics(average)
    average.register_to_config(shift_factor=shift, scaling_factor=scale)
    average.save_pretrained(runs / "vae")
    print(f"shift {shift:.4f}, scale {scale:.4f}, peak signal to noise {_fidelity(average):.1f} dB")


def encode(vae: Any, pictures: Tensor) -> Tensor:
    """Codes as the transformer sees them: (n, 16, height / 8, width / 8), about of mean 0 and deviation 1."""
    with torch.no_grad(), autocast():
        codes = vae.encode(pictures).latent_dist.mean.float()
    return (codes - vae.config.shift_factor) * vae.config.scaling_factor  # type: ignore[no-any-return]


def _pictures(rng: random.Random) -> Tensor:
    """A batch of scenes, or of what edges and depth show of them; some with their colours moved."""
    sides = SIDES[0] if rng.random() < 0.6 else rng.choice(SIDES)
    batch = scenes(rng, sides, _BATCH, shapes=(*SHAPES, FORBIDDEN))
    draw = rng.choices((render, edges, depth), weights=(18, 1, 1))[0]
    pictures = draw(batch)
    if draw is render and rng.random() < 0.1:
        count = len(pictures)
        contrast = torch.empty(count, 3, 1, 1).uniform_(0.6, 1)
        pictures = (pictures * contrast + torch.empty(count, 3, 1, 1).uniform_(-0.25, 0.25)).clamp(-1, 1)
    return pictures.contiguous(memory_format=torch.channels_last)


def _validation() -> Tensor:
    return render(scenes(random.Random("validation"), (64, 64), 512))


def _statistics(vae: nn.Module) -> tuple[float, float]:
    with torch.no_grad():
        codes = vae.encode(_validation()).latent_dist.mean  # type: ignore[operator]
    return codes.mean().item(), 1 / codes.std().item()


def _fidelity(vae: nn.Module) -> float:
    pictures = _validation()
    with torch.no_grad():
        drawn = vae.decode(vae.encode(pictures).latent_dist.mean).sample  # type: ignore[operator]
    return float(10 * torch.log10(4 / (drawn.clamp(-1, 1) - pictures).square().mean()))
