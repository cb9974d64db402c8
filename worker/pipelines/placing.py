"""Where the parts of a pipeline lie between uses, and how they come onto the device.

Host memory must hold what is off the device; for groups and by a driver's rules it is pinned there.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from diffusers.hooks import apply_group_offloading

from fluxfarm.memory_plans import AUTO, GIB, TEXT_ENCODERS, TRANSFORMER, fitting, needs_gib, offloads
from worker.pipelines import DeviceOptions

log = logging.getLogger("fluxfarm")


def chosen(pipe: Any, device: torch.device, options: DeviceOptions) -> DeviceOptions:
    """The options with what `auto` offloading means for these weights on this device, as much of it as is free."""
    if options.offload != AUTO:
        return options
    if device.type != "cuda":
        return dataclasses.replace(options, offload="none")
    torch.cuda.empty_cache()
    return fitted(pipe, options, torch.cuda.mem_get_info(device)[0] / GIB)


def fitted(pipe: Any, options: DeviceOptions, free: float) -> DeviceOptions:
    """The options with the fastest offloading for which `free` GiB suffice, else with the smallest."""
    needs = needs_gib(_parts(pipe), options.vae_tiling)
    allowed = offloads(options.quantise, compiled=options.compile)
    found = fitting(needs, allowed, free)
    offload = found or allowed[-1]
    fields = {"FLUXFARM_OFFLOAD": offload, "needs_gib": needs[offload], "free_gib": round(free, 1)}
    if found is None:
        log.warning("no plan for the device's memory fits; the smallest is tried", extra={"fields": fields})
    else:
        log.info("plan for the device's memory", extra={"fields": fields})
    return dataclasses.replace(options, offload=offload)


def _parts(pipe: Any) -> Mapping[str, float]:
    """GiB of each."""
    encoders = [each for each in (pipe.text_encoder, pipe.text_encoder_2) if each is not None]
    parts = {TRANSFORMER: [pipe.transformer], TEXT_ENCODERS: encoders, "vae": [pipe.vae]}
    held = {name: [tensor for each in part for tensor in each.parameters()] for name, part in parts.items()}
    return {name: sum(_bytes(each) for each in tensors) / GIB for name, tensors in held.items()}


def _bytes(tensor: Any) -> int:
    """What it really takes, where it pretends to have the number format that it is computed with."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(getattr(tensor, name).nbytes for name in tensor.__tensor_flatten__()[0])
    scales = getattr(tensor, "quant_state", None)
    return int(tensor.nbytes + (scales.absmax.nbytes if scales is not None else 0))


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
