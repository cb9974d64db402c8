"""In one piece or in tiles: how the VAE turns pictures into latents and back. Tiles overlap, and take less memory."""

from typing import Any, Final

TILE: Final = 512
"""Side of a tile in pixels where memory is to be saved."""
LARGE: Final = 1536 * 1024
"""Pixels above which a picture is large."""
LARGE_TILE: Final = 1024


def tile_side(tiling: str, width: int, height: int) -> int | None:
    """Of the tiles that a picture of this size is cut into, by the words of `FLUXFARM_VAE_TILING`; None for none."""
    if tiling == "on":
        return TILE
    return LARGE_TILE if tiling == "auto" and width * height > LARGE else None


def set_tiles(vae: Any, scale: int, side: int | None) -> None:
    """For what the VAE does from now on; `scale` is how many pixels wide a latent is."""
    vae.use_tiling = side is not None
    if side is not None:
        vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // scale
