"""LoRAs made of chance for the small weights: strong enough that nobody overlooks them."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from worker.pipelines.flux_loras import DOWN, PREFIX, UP

LAYERS = ("to_q", "to_k", "to_v")


def lora(transformer: Path, *, seed: int = 0, wider: int = 0, strength: float = 1.0) -> bytes:
    """The file of one of rank 2 for the first block of the transformer in this directory, or for a `wider` one."""
    config = json.loads((transformer / "config.json").read_text())
    side = config["num_attention_heads"] * config["attention_head_dim"] + wider
    chance = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in LAYERS:
        name = f"{PREFIX}transformer_blocks.0.attn.{layer}"
        tensors[name + DOWN] = torch.randn(2, side, generator=chance)
        tensors[name + UP] = torch.randn(side, 2, generator=chance) * strength
    return save(tensors)


def of_layers(transformer: Path, layers: Sequence[str], rank: int) -> bytes:
    """The file of one for these layers of the first block's attention."""
    config = json.loads((transformer / "config.json").read_text())
    side = config["num_attention_heads"] * config["attention_head_dim"]
    names = [f"{PREFIX}transformer_blocks.0.attn.{layer}" for layer in layers]
    downs = {name + DOWN: torch.ones(rank, side) for name in names}
    return save(downs | {name + UP: torch.ones(side, rank) for name in names})


def twice_told(transformer: Path) -> tuple[bytes, bytes]:
    """One LoRA as Kohya's trainer writes it, with parts for text encoders, and as diffusers does."""
    config = json.loads((transformer / "config.json").read_text())
    side = config["num_attention_heads"] * config["attention_head_dim"]
    chance = torch.Generator().manual_seed(2)
    down, into = (torch.randn(2, width, generator=chance) for width in (side, config["in_channels"]))
    up, out = (torch.randn(height, 2, generator=chance) for height in (3 * side, side))
    block, entry = "lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_img_in"
    words = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    kohya = {
        f"{block}.lora_down.weight": down,
        f"{block}.lora_up.weight": up,
        f"{block}.alpha": torch.tensor(2.0),
        f"{entry}.lora_down.weight": into,
        f"{entry}.lora_up.weight": out,
        f"{words}.lora_down.weight": torch.randn(2, 8),
        f"{words}.lora_up.weight": torch.randn(8, 2),
        f"{words}.alpha": torch.tensor(2.0),
    }
    ours = {f"{PREFIX}x_embedder{DOWN}": into, f"{PREFIX}x_embedder{UP}": out}
    for layer, part in zip(LAYERS, up.chunk(3), strict=True):
        name = f"{PREFIX}transformer_blocks.0.attn.{layer}"
        ours |= {name + DOWN: down.clone(), name + UP: part.clone()}
    return save(kohya), save(ours)


def kohya(layer: str, rank: int, alpha: float, wide: int = 8) -> bytes:
    """One of one layer, as Kohya's trainer writes it."""
    parts = {"lora_down.weight": torch.ones(rank, wide), "lora_up.weight": torch.ones(wide, rank)}
    parts["alpha"] = torch.tensor(alpha)
    return save({f"lora_unet_{layer}.{name}": part for name, part in parts.items()})
