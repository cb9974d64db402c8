"""LoRAs made of chance for the small weights: strong enough that nobody overlooks them."""

import json
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
