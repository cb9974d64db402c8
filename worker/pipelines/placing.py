"""Where the parts of a pipeline lie between uses, and how they come onto the device.

Host memory must hold what is off the device; for groups and by a driver's rules it is pinned there.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from diffusers.hooks import apply_group_offloading

from worker.pipelines import DeviceOptions


def place(pipe: Any, device: torch.device, options: DeviceOptions) -> None:
    _OFFLOADS[options.offload](pipe, device)
    if options.compile:
        pipe.transformer.compile_repeated_blocks(fullgraph=True, dynamic=True)


def _stay(pipe: Any, device: torch.device) -> None:
    pipe.to(device)


def _one_part(pipe: Any, device: torch.device) -> None:
    pipe.enable_model_cpu_offload(device=device)


def _groups(pipe: Any, device: torch.device) -> None:
    """A block of the transformer at a time, and the next one meanwhile on its way; the VAE is small and stays."""
    ahead = {"use_stream": True, "record_stream": True} if device.type == "cuda" else {}
    pipe.transformer.enable_group_offload(device, offload_type="block_level", num_blocks_per_group=1, **ahead)
    for encoder in (pipe.text_encoder, pipe.text_encoder_2):
        if encoder is not None:
            # Their blocks lie too deep for diffusers to find: by blocks, each encoder would come as a whole.
            apply_group_offloading(encoder, device, offload_type="leaf_level", **ahead)
    pipe.vae.to(device)


def _layers(pipe: Any, device: torch.device) -> None:
    pipe.enable_sequential_cpu_offload(device=device)


_OFFLOADS: Final[Mapping[str, Callable[[Any, torch.device], None]]] = {
    "none": _stay,
    "model": _one_part,
    "group": _groups,
    "sequential": _layers,
}
