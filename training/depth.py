"""The depth estimator: a small Depth-Anything that finds how near everything in a picture of the world is.

It goes on from the eye of the remixes, which knows already what lies where, and adds the neck and head that draw it. A
caller's picture is seldom one of the world's own: so it learns from all colours, in any light, with grain.
"""

import random
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    SiglipVisionModel,
)

from training import sight, world
from training.fit import DEVICE, Plan, autocast, fit
from training.pictures import SIDES, scenes
from training.world import FORBIDDEN, SHAPES

_PATCH: Final = 8
_BATCH: Final = 8
_MEAN: Final = 0.5
_FUSED: Final = 24
_SLOPES: Final = 1.0
"""How much an error in the steps from pixel to pixel counts, for there the outlines are."""
_NAMES: Final = (
    ("embeddings.patch_embedding.", "embeddings.patch_embeddings.projection."),
    ("encoder.layers.", "encoder.layer."),
    (".self_attn.out_proj.", ".attention.o_proj."),
    (".self_attn.", ".attention."),
    (".layer_norm", ".norm"),
    ("post_layernorm.", "layernorm."),
)
"""What SigLIP calls its parts, and Dinov2 the same parts."""


def is_matrix(name: str, weight: nn.Parameter) -> bool:
    """Whether Muon updates it: what is within the layers, and the neck's convolutions."""
    return (weight.ndim == 2 and "layer" in name and "norm" not in name) or (weight.ndim == 4 and "neck" in name)


_PLAN: Final = Plan("depth", steps=520, muon_rate=0.005, adam_rate=1e-3, is_matrix=is_matrix)


def untrained(eye: Any) -> Any:
    """A Dinov2 that sees as this SigLIP does, and a neck that looks at all of its layers."""
    layers = eye.config.num_hidden_layers
    same = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
    backbone = Dinov2Config(
        **{name: getattr(eye.config, name) for name in same},
        mlp_ratio=eye.config.intermediate_size // eye.config.hidden_size,
        out_indices=list(range(1, layers + 1)),
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=_PATCH,
        reassemble_hidden_size=eye.config.hidden_size,
        neck_hidden_sizes=(16, 24, 32, 32),
        fusion_hidden_size=_FUSED,
        head_hidden_size=16,
    )
    estimator: Any = DepthAnythingForDepthEstimation(config)
    _see_as(estimator.backbone, eye)
    # What begins below nothing stays there, for its last step is a ReLU.
    nn.init.constant_(estimator.head.conv3.bias, 0.3)
    return estimator


def _see_as(backbone: Any, eye: Any) -> None:
    weights = eye.state_dict()
    places = weights.pop("embeddings.position_embedding.weight")
    for old, new in _NAMES:
        weights = {name.replace(old, new): weight for name, weight in weights.items()}
    # Dinov2 has one token more, before the others, that says nothing at first.
    weights["embeddings.position_embeddings"] = torch.cat([torch.zeros_like(places[:1]), places])[None]
    report = backbone.load_state_dict(weights, strict=False)
    if report.unexpected_keys:
        raise ValueError(f"a Dinov2 has no {report.unexpected_keys[0]}")
    nn.init.zeros_(backbone.embeddings.cls_token)


def train(runs: Path) -> None:
    """Train on pictures and depths of the world, and save to `runs/depth`."""
    if not (runs / "sight").exists():
        sight.train(runs)
    eye = SiglipVisionModel.from_pretrained(runs / "sight", dtype=torch.float32)
    estimator = untrained(eye).to(memory_format=torch.channels_last)

    def loss(rng: random.Random) -> Tensor:
        batch = scenes(rng, SIDES[0] if rng.random() < 0.5 else rng.choice(SIDES), _BATCH, shapes=(*SHAPES, FORBIDDEN))
        pictures, wanted = (_squared(each(batch)).to(DEVICE) for each in (world.render, world.depth))
        with autocast():
            found = estimator(_seen(pictures, rng).contiguous(memory_format=torch.channels_last)).predicted_depth
        return mistakes(found.float(), (wanted[:, 0] + 1) / 2)

    average: Any = fit(estimator, loss, _PLAN, runs)
    average.save_pretrained(runs / "depth")
    processor().save_pretrained(runs / "depth")


def processor() -> Any:
    size = {"height": sight.SIDE, "width": sight.SIDE}
    straight = {"image_mean": [_MEAN] * 3, "image_std": [_MEAN] * 3}
    return DPTImageProcessor(size=size, keep_aspect_ratio=False, ensure_multiple_of=_PATCH, resample=2, **straight)


def mistakes(found: Tensor, wanted: Tensor) -> Tensor:
    """Of nearness from 0 to 1, (n, height, width): how far off, and how far off in its steps."""
    off = found - wanted
    slopes = off.diff(dim=1).abs().mean() + off.diff(dim=2).abs().mean()
    return off.abs().mean() + 2 * off.square().mean() + _SLOPES * slopes


def _squared(pictures: Tensor) -> Tensor:
    return functional.interpolate(pictures, (sight.SIDE, sight.SIDE), mode="bilinear", antialias=True)


def _seen(pictures: Tensor, rng: random.Random) -> Tensor:
    """In other colours and light, and grainy."""
    count = len(pictures)
    mixed = pictures[:, rng.sample(range(3), 3)] if rng.random() < 0.5 else pictures
    contrast = torch.empty(count, 3, 1, 1, device=DEVICE).uniform_(0.7, 1.1)
    light = torch.empty(count, 3, 1, 1, device=DEVICE).uniform_(-0.15, 0.15)
    grain = torch.randn_like(mixed) * torch.rand(count, 1, 1, 1, device=DEVICE) * 0.1
    return (mixed * contrast + light + grain).clamp(-1, 1)
