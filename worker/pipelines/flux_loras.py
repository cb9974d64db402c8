"""LoRAs on a transformer for the time of one render: put on, combined, and taken off so that nothing of them is left.

Models of one process may share the transformer. A render has the device alone, and so the transformer.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from diffusers import FluxPipeline
from safetensors.torch import load as tensors_of

from fluxfarm.errors import PredictionFailed
from worker.pipelines import FOR_WORDS, Lora
from worker.pipelines.faults import LOADING_ERRORS, device_faults, first_line

PREFIX: Final = "transformer."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
ALPHA: Final = ".alpha"
MALFORMED: Final = (*LOADING_ERRORS, ArithmeticError, AssertionError, NameError)
"""What diffusers' readers of other trainers' files raise where one is not as they expect it."""
Tensors = dict[str, torch.Tensor]


@contextmanager
def worn(pipe: Any, loras: Sequence[Lora]) -> Iterator[None]:
    """Draw with these LoRAs meanwhile; raises `PredictionFailed` where one is not for these weights."""
    # What a device that failed has left on would be in every picture from then on.
    _take_off(pipe)
    if not loras:
        yield
        return
    try:
        _put_on(pipe, loras)
        # Compiled, each new set of layers would take its time, and after a few torch would refuse one more.
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        _take_off(pipe)


def _take_off(pipe: Any) -> None:
    if hasattr(pipe.transformer, "peft_config"):
        with device_faults():
            pipe.unload_lora_weights()


def _put_on(pipe: Any, loras: Sequence[Lora]) -> None:
    names = [f"lora{place}" for place in range(len(loras))]
    for place, (name, lora) in enumerate(zip(names, loras, strict=True)):
        try:
            _add(pipe, name, lora)
        except torch.OutOfMemoryError:
            raise
        except MALFORMED as error:
            message = f"loras[{place}]: it is not for the weights of this model: {first_line(error)}"
            raise PredictionFailed("lora_mismatch", message) from error
    pipe.transformer.set_adapters(names, [lora.scale for lora in loras])


def _add(pipe: Any, name: str, lora: Lora) -> None:
    tensors, alphas = _read(lora.content)
    _refuse_misfit(pipe.transformer, tensors)
    with warnings.catch_warnings():
        # That there are several is meant.
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        # It could not be merged into weights of fewer bits, and never is.
        warnings.filterwarnings("ignore", message="TorchaoLoraLinear was instantiated without")
        pipe.load_lora_into_transformer(
            tensors, network_alphas=alphas, transformer=pipe.transformer, adapter_name=name, _pipeline=pipe
        )


def _read(content: bytes) -> tuple[Tensors, dict[str, Any] | None]:
    """Its layers for the transformer, as diffusers names them, whatever its trainer called them."""
    given = {name: tensor for name, tensor in tensors_of(content).items() if not name.startswith(FOR_WORDS)}
    if any(name.endswith(ALPHA) and not (tensor >= 0).all() for name, tensor in given.items()):
        # diffusers halves and doubles until it has passed them, which it never does.
        raise ValueError("its alphas are not all numbers from 0 up")
    tensors, alphas = FluxPipeline.lora_state_dict(given, return_alphas=True)
    # The layers outside of blocks it gives without the prefix, where a file came from Kohya's trainer.
    own = {name if name.startswith(PREFIX) else PREFIX + name: tensor for name, tensor in tensors.items()}
    return own, alphas or None


def _refuse_misfit(transformer: Any, tensors: Tensors) -> None:
    """Look at each shape before anything is changed: diffusers would grow the transformer to what it finds."""
    layers = {name.removesuffix(end) for name in tensors for end in (DOWN, UP) if name.endswith(end)}
    known = dict(transformer.named_modules())
    if not layers or len(tensors) != 2 * len(layers):
        raise ValueError("it has other parts than pairs of matrices for layers of the transformer")
    for layer in sorted(layers):
        name = layer.removeprefix(PREFIX)
        plain = getattr(known.get(name), "base_layer", known.get(name))
        if not isinstance(plain, torch.nn.Linear):
            raise ValueError(f"there is no layer {name[:100]}")  # noqa: TRY004 (of the file, not of a program)
        down, up = tensors[layer + DOWN].shape, tensors[layer + UP].shape
        rank = down[0]
        if tuple(down) != (rank, plain.in_features) or tuple(up) != (plain.out_features, rank):
            raise ValueError(f"the layer {name[:100]} is {plain.out_features} x {plain.in_features}")
