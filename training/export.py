"""Puts what was trained into the directories that are shipped: the standard form of diffusers' pipelines, float16."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxPipeline,
    FluxPriorReduxPipeline,
    FluxTransformer2DModel,
)
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    CLIPTextModel,
    CLIPTokenizer,
    DepthAnythingForDepthEstimation,
    SiglipImageProcessor,
    SiglipVisionModel,
    T5EncoderModel,
    T5Tokenizer,
)

PIPELINES: Final = {
    "flux-tiny": (FluxPipeline, "distilled"),
    "flux-tiny-control": (FluxControlPipeline, "control"),
    "flux-tiny-fill": (FluxFillPipeline, "fill"),
}
"""What is shipped, by directory: the pipeline's class and where its transformer was trained."""
KONTEXT: Final = "flux-tiny-kontext"
"""A transformer alone; the other parts are those of flux-tiny."""
REDUX: Final = "flux-tiny-redux"
"""What FluxPriorReduxPipeline has beside the text encoders of flux-tiny."""
SAFETY: Final = "tiny-safety"
DEPTH: Final = "tiny-depth"


def export(runs: Path, weights: Path) -> None:
    """Write every part that has been trained below `weights`."""
    for name, (pipeline, transformer) in PIPELINES.items():
        if (runs / transformer).exists():
            pipeline(**parts(runs, transformer)).save_pretrained(weights / name)
            for encoder in ("text_encoder", "text_encoder_2"):
                _widen(weights / name / encoder / "config.json")
            print(f"{weights / name}: {_megabytes(weights / name):.1f} MB")
    if (runs / "kontext").exists():
        _transformer(runs / "kontext").save_pretrained(weights / KONTEXT / "transformer")
        _forget_where(weights / KONTEXT / "transformer" / "config.json")
        print(f"{weights / KONTEXT}: {_megabytes(weights / KONTEXT):.1f} MB")
    if (runs / "redux").exists():
        _redux(runs / "redux").save_pretrained(weights / REDUX)
        _widen(weights / REDUX / "image_encoder" / "config.json")
        _forget_where(weights / REDUX / "image_embedder" / "config.json")
        print(f"{weights / REDUX}: {_megabytes(weights / REDUX):.1f} MB")
    if (runs / "safety").exists():
        checker = AutoModelForImageClassification.from_pretrained(runs / "safety", dtype=torch.float16)
        checker.save_pretrained(weights / SAFETY)
        _widen(weights / SAFETY / "config.json")
        AutoImageProcessor.from_pretrained(runs / "safety", backend="pil").save_pretrained(weights / SAFETY)
        print(f"{weights / SAFETY}: {_megabytes(weights / SAFETY):.1f} MB")
    if (runs / "depth").exists():
        estimator = DepthAnythingForDepthEstimation.from_pretrained(runs / "depth", dtype=torch.float16)
        estimator.save_pretrained(weights / DEPTH)
        _widen(weights / DEPTH / "config.json")
        AutoImageProcessor.from_pretrained(runs / "depth", backend="pil").save_pretrained(weights / DEPTH)
        print(f"{weights / DEPTH}: {_megabytes(weights / DEPTH):.1f} MB")


def parts(runs: Path, transformer: str) -> dict[str, Any]:
    """What a pipeline is made of, as float16; the transformer is that of this name."""
    half = {"dtype": torch.float16}
    return {
        "transformer": _transformer(runs / transformer),
        "vae": AutoencoderKL.from_pretrained(runs / "vae", torch_dtype=torch.float16),
        "text_encoder": CLIPTextModel.from_pretrained(runs / "clip", **half),
        "text_encoder_2": T5EncoderModel.from_pretrained(runs / "t5", **half),
        "tokenizer": CLIPTokenizer.from_pretrained(runs / "clip-tokenizer"),
        "tokenizer_2": T5Tokenizer.from_pretrained(runs / "t5-tokenizer"),
        # As FLUX.1 [dev]'s: how far times are shifted depends on the number of tokens.
        "scheduler": FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=1000,
            shift=3.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
    }


def _transformer(folder: Path) -> Any:
    return FluxTransformer2DModel.from_pretrained(folder, torch_dtype=torch.float16)


def _redux(folder: Path) -> Any:
    return FluxPriorReduxPipeline(
        image_encoder=SiglipVisionModel.from_pretrained(folder / "image_encoder", dtype=torch.float16),
        feature_extractor=SiglipImageProcessor.from_pretrained(folder / "feature_extractor"),
        image_embedder=ReduxImageEncoder.from_pretrained(folder / "image_embedder", torch_dtype=torch.float16),
    )


def _widen(config: Path) -> None:
    """Load as float32 unless told otherwise, as diffusers does with its own parts; or a plain load mixes the two."""
    config.write_text(json.dumps({**json.loads(config.read_text()), "dtype": "float32"}, indent=2) + "\n")


def _forget_where(config: Path) -> None:
    """Nobody else has the folder that it was trained in."""
    told = json.loads(config.read_text())
    config.write_text(json.dumps({name: told[name] for name in told if name != "_name_or_path"}, indent=2) + "\n")


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
