"""The largest weights in fewer bits, made smaller layer by layer: fp8 by torchao, NF4 by bitsandbytes.

diffusers' own loaders ask the same of these libraries, but cannot leave out a layer for what is in it, and refuse NF4
where there is no NVIDIA device, so that nobody could try it there.
"""

import importlib
from collections.abc import Callable
from importlib import metadata
from typing import Any, Final

import torch
from torch import nn

from fluxfarm.errors import WorkerFault
from fluxfarm.memory_plans import LIBRARIES

EXACT: Final = frozenset({"x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out"})
"""Parts at a transformer's ends: a hundredth of its parameters, and all that it draws goes through them."""
KEPT: Final = "wo"
"""Layers of T5 whose results leave the range of smaller numbers."""


def quantise(pipe: Any, kind: str, device: torch.device) -> None:
    """Bring the transformer and T5, where that is there, into `fp8` or `nf4`.

    Raises:
        WorkerFault: the library for it is not installed.

    """
    smaller = _converter(kind)
    for part in (pipe.transformer, pipe.text_encoder_2):
        for name, layer in [*part.named_modules()] if part is not None else []:
            if isinstance(layer, nn.Linear) and _bears_it(name, layer):
                parent, _, own = name.rpartition(".")
                setattr(part.get_submodule(parent), own, smaller(layer.to(device)).to("cpu"))


def told(kind: str) -> str:
    """The kind with the version of the library that does it."""
    library = LIBRARIES.get(kind)
    return f"{kind}, {library} {metadata.version(library)}" if library else kind


def _converter(kind: str) -> Callable[[nn.Linear], nn.Linear]:
    try:
        smaller: Callable[[nn.Linear], nn.Linear] = importlib.import_module(f"worker.pipelines.{kind}").smaller
    except ImportError as error:
        needs = f"FLUXFARM_QUANTISE={kind} needs {LIBRARIES[kind]}"
        raise WorkerFault(f"{needs}: pip install -c constraints.txt '.[worker,quantised]' ({error})") from error
    return smaller


def _bears_it(name: str, layer: nn.Linear) -> bool:
    first, own = name.partition(".")[0], name.rpartition(".")[2]
    # A row of nothing but zeros has no scale; torchao would make it a row of nothing but NaN.
    return first not in EXACT and own != KEPT and bool(layer.weight.detach().abs().amax(dim=1).min() > 0)
