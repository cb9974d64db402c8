"""FLUX.1's weights from a directory or the hub, whole or not at all, and onto the device that the settings choose."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline
from huggingface_hub.constants import HF_HUB_OFFLINE
from transformers import CLIPTextModel, T5EncoderModel

from fluxfarm.catalog import Model
from fluxfarm.errors import WorkerFault
from worker.pipelines import DeviceOptions
from worker.pipelines.faults import LOADING_ERRORS, first_line


def choose_device(options: DeviceOptions) -> torch.device:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", options.device):
        raise WorkerFault(f"The device {options.device!r} is not known; use auto, cpu, cuda or cuda:N.")
    seen = torch.cuda.device_count()
    kind, _, index = options.device.partition(":")
    if kind == "cpu" or (kind == "auto" and not seen):
        if options.offload != "none":
            raise WorkerFault(
                f"FLUXFARM_OFFLOAD={options.offload} needs an NVIDIA device, and this worker runs on the CPU."
            )
        return torch.device("cpu")
    number = int(index or 0)
    if number >= seen:
        raise WorkerFault(f"The device {options.device} is not there: torch sees {seen} NVIDIA devices.")
    return torch.device("cuda", number)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[name]


def read_weights(model: Model, dtype: torch.dtype) -> Any:
    location = model.weights.source
    local = Path(location).is_dir()
    if not local and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", location):
        raise WorkerFault(f"The weights of {model.slug} are not there: no directory {location}.")
    arguments: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": HF_HUB_OFFLINE}
    if not local:
        arguments["revision"] = model.weights.revision
    try:
        encoders = {
            "text_encoder": _text_encoder(CLIPTextModel, location, "text_encoder", arguments),
            "text_encoder_2": _text_encoder(T5EncoderModel, location, "text_encoder_2", arguments),
        }
        pipe = FluxPipeline.from_pretrained(location, **encoders, **arguments)
        _refuse_gaps(pipe)
    except LOADING_ERRORS as error:
        raise WorkerFault(
            f"The weights of {model.slug} cannot be loaded from {location}: {first_line(error)}"
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _text_encoder(kind: Any, location: str, folder: str, arguments: dict[str, Any]) -> Any:
    """Loaded here, since transformers fills what a file lacks with random numbers and the pipeline would not tell."""
    encoder, report = kind.from_pretrained(location, subfolder=folder, output_loading_info=True, **arguments)
    if report["missing_keys"]:
        raise ValueError(f"{folder} lacks {min(report['missing_keys'])}")
    return encoder


def _refuse_gaps(pipe: Any) -> None:
    for name in ("transformer", "vae"):
        lacking = [key for key, tensor in getattr(pipe, name).state_dict().items() if tensor.is_meta]
        if lacking:
            raise ValueError(f"{name} lacks {min(lacking)}")
    for tokenizer, encoder in (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")):
        # Where a tokenizer's files are missing, transformers makes one that knows a handful of tokens.
        known, expected = len(getattr(pipe, tokenizer)), getattr(pipe, encoder).config.vocab_size
        if not expected / 2 < known <= expected:
            raise ValueError(f"{tokenizer} knows {known} tokens where {encoder} expects {expected}")


def place(pipe: Any, device: torch.device, options: DeviceOptions) -> None:
    if options.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif options.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    if options.compile:
        pipe.transformer.compile_repeated_blocks(fullgraph=True, dynamic=True)
