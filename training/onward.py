"""Where the parts that go on from flux-tiny find it: what was trained here, or else what is shipped."""

from pathlib import Path
from typing import Final

from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from training import reading

_PARTS: Final = {
    "transformer": ("distilled", FluxTransformer2DModel),
    "vae": ("vae", AutoencoderKL),
    "text_encoder": ("clip", CLIPTextModel),
    "text_encoder_2": ("t5", T5EncoderModel),
    "tokenizer": ("clip-tokenizer", CLIPTokenizer),
    "tokenizer_2": ("t5-tokenizer", T5Tokenizer),
}
"""By their names in the pipeline: where the recipe keeps them, and what they are."""


def prepare(runs: Path, shipped: Path) -> None:
    """Put below `runs` what is missing there of flux-tiny, and train what reads codes, which is not shipped."""
    for name, (kept, kind) in _PARTS.items():
        if not (runs / kept).exists():
            kind.from_pretrained(shipped / name).save_pretrained(runs / kept)
    if not (runs / reading.FILE).exists():
        reading.train(runs)
