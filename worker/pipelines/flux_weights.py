"""FLUX.1's weights from a directory or the hub, whole or not at all, and onto the device that the settings choose."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from huggingface_hub.constants import HF_HUB_OFFLINE
from transformers import CLIPTextModel, T5EncoderModel

from fluxfarm.catalog import Model, Weights
from fluxfarm.errors import WorkerFault
from fluxfarm.memory_plans import AUTO
from worker.pipelines import DeviceOptions
from worker.pipelines.faults import LOADING_ERRORS, device_faults, first_line
from worker.pipelines.placing import chosen, place
from worker.pipelines.quantising import quantise

FILE = ".safetensors"
"""A transformer alone, as Black Forest Labs hands it out beside the parts for diffusers."""


def choose_device(options: DeviceOptions) -> torch.device:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", options.device):
        raise WorkerFault(f"The device {options.device!r} is not known; use auto, cpu, cuda or cuda:N.")
    seen = torch.cuda.device_count()
    kind, _, index = options.device.partition(":")
    if kind == "cpu" or (kind == "auto" and not seen):
        if options.offload not in ("none", AUTO):
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """A `FluxPipeline` on its device."""

    pipe: Any
    """Without text encoders where these lie apart."""
    words: Any
    """The `FluxPipeline` with the text encoders: the same one, or another where they lie apart."""
    device: torch.device
    dtype: torch.dtype
    options: DeviceOptions

    @property
    def words_device(self) -> torch.device:
        """Where words are encoded."""
        return self.device if self.words is self.pipe else torch.device("cpu")


def load_base(model: Model, options: DeviceOptions) -> Loaded:
    """The transformer of a model with the text encoders and the VAE that it draws with; all who ask share it.

    Raises:
        WorkerFault: the weights are missing or wrong, or the device is missing or too small.

    """
    weights = model.drawn_with
    try:
        return _loaded(weights, options)
    except LOADING_ERRORS as error:
        message = f"The weights of {model.slug} cannot be loaded from {weights.source}: {first_line(error)}"
        raise WorkerFault(message) from error


def hub_arguments(weights: Weights, dtype: torch.dtype) -> dict[str, Any]:
    """What every `from_pretrained` is told of where weights lie."""
    arguments: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "local_files_only": HF_HUB_OFFLINE}
    return arguments if Path(weights.source).is_dir() else {**arguments, "revision": weights.revision}


@cache
def _loaded(weights: Weights, options: DeviceOptions) -> Loaded:
    device = choose_device(options)
    dtype = choose_dtype(options.dtype, device)
    transformer = _own_transformer(weights, dtype) if weights.base else {}
    pipe = _read(weights.base or weights, dtype, transformer)
    words = _words_apart(pipe) if options.text_encoders == "cpu" else pipe
    if options.quantise != "none":
        with device_faults():
            quantise(pipe, options.quantise, device)
    plan = chosen(pipe, device, options)
    with device_faults(plan.remedy):
        place(pipe, device, plan)
    return Loaded(pipe, words, device, dtype, plan)


def _words_apart(pipe: Any) -> Any:
    """Take the text encoders out, into a pipeline of their own."""
    names = ("text_encoder", "text_encoder_2")
    tokenizers = {name: getattr(pipe, name) for name in ("tokenizer", "tokenizer_2")}
    encoders = {name: getattr(pipe, name) for name in names}
    pipe.register_modules(**dict.fromkeys(names))
    return FluxPipeline(scheduler=pipe.scheduler, vae=None, transformer=None, **tokenizers, **encoders)


def _own_transformer(weights: Weights, dtype: torch.dtype) -> dict[str, Any]:
    assert weights.base is not None
    source = weights.source
    if Path(source).suffix == FILE:
        base = hub_arguments(weights.base, dtype)
        config = {"config": weights.base.source, "subfolder": "transformer", "torch_dtype": dtype}
        return {"transformer": FluxTransformer2DModel.from_single_file(source, **config, **only_where(base))}
    arguments = hub_arguments(weights, dtype)
    own = {"subfolder": "transformer", "torch_dtype": dtype, "use_safetensors": True, **only_where(arguments)}
    return {"transformer": FluxTransformer2DModel.from_pretrained(source, **own)}


def only_where(arguments: dict[str, Any]) -> dict[str, Any]:
    """Of `hub_arguments`, what those are told too that hold no tensors."""
    return {name: value for name, value in arguments.items() if name in ("local_files_only", "revision")}


def _read(weights: Weights, dtype: torch.dtype, transformer: dict[str, Any]) -> Any:
    location = weights.source
    if not Path(location).is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", location):
        raise OSError(f"no directory {location}")
    arguments = hub_arguments(weights, dtype)
    encoders = {
        "text_encoder": whole_encoder(CLIPTextModel, location, "text_encoder", arguments),
        "text_encoder_2": whole_encoder(T5EncoderModel, location, "text_encoder_2", arguments),
    }
    pipe = FluxPipeline.from_pretrained(location, **encoders, **transformer, **arguments)
    _refuse_gaps(pipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def whole_encoder(kind: Any, location: str, folder: str, arguments: dict[str, Any]) -> Any:
    """Of transformers, which fills what a file lacks with random numbers; raises `ValueError` where it would."""
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
