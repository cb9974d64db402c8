"""What latents look like in small: the channels of each projected onto red, green and blue, a pixel a latent.

Cheap enough for any step. The projection is fitted to what the VAE makes of pictures whose colours we know: encoding
those is as much work as encoding one picture of 256 x 256.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)

PICTURES, LATENTS = 4, 16
"""How many are encoded, and the side of each, in latents."""
SEED = 0


class Projection:
    """Made by `fitted`."""

    def __init__(self, factors: torch.Tensor, bias: torch.Tensor) -> None:
        self._factors = factors
        self._bias = bias

    @torch.no_grad()
    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Levels of 8 bits, rows x columns x 3, of one picture's scaled latents, on the device that these are on."""
        drawn = torch.einsum("cyx,cr->yxr", latents[0].float(), self._factors) + self._bias
        return levels(drawn)


def levels(drawn: torch.Tensor) -> torch.Tensor:
    """Levels of 8 bits of what a VAE draws, from -1 to 1."""
    return (drawn.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)


@torch.no_grad()
def fitted(vae: Any, device: torch.device, pixels_per_latent: int) -> Projection:
    """The projection that comes nearest to what this VAE means by its latents; always the same for the same weights."""
    pictures = _clouds(LATENTS * pixels_per_latent)
    encoded = vae.encode(pictures.to(device, vae.dtype)).latent_dist.mode()
    scaled = ((encoded - vae.config.shift_factor) * vae.config.scaling_factor).float().cpu()
    colours = F.avg_pool2d(pictures, pixels_per_latent)
    known = torch.cat([_rows(scaled), torch.ones(colours.numel() // 3, 1)], dim=1)
    solution = torch.linalg.lstsq(known, _rows(colours)).solution.to(device)
    return Projection(solution[:-1], solution[-1])


def _rows(of: torch.Tensor) -> torch.Tensor:
    return of.permute(0, 2, 3, 1).flatten(0, 2)


def _clouds(side: int) -> torch.Tensor:
    """Colours and lights of all sizes, the larger the stronger, as pictures have them."""
    chance = torch.Generator().manual_seed(SEED)
    drawn, cells = torch.zeros(PICTURES, 3, side, side), 2
    while cells <= side // 2:
        colour = torch.randn(PICTURES, 3, cells, cells, generator=chance)
        light = torch.randn(PICTURES, 1, cells, cells, generator=chance)
        drawn += F.interpolate(colour + light, size=(side, side), mode="bilinear") * (2 / cells) ** 0.5
        cells *= 2
    return (drawn / drawn.std() * 0.6).clamp(-1, 1)
