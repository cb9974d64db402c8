"""FLUX.1 at full size without its weights: how many parameters each part has, and what lies between the layers.

On torch's meta device and with fake tensors: nothing is computed, and nothing of any size is held.
"""

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel, ReduxImageEncoder
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5EncoderModel,
)

from fluxfarm.catalog import BUILT_IN

GIB = 2**30
SMALL = BUILT_IN.parent / "weights" / "flux-tiny"
DOUBLE = 19
"""Double layers of the transformer; it has twice as many single ones."""
TOKENS, SIDE = 512, 1024
"""Of the prompt, and of the picture in pixels."""


def transformer(double: int = DOUBLE) -> FluxTransformer2DModel:
    return FluxTransformer2DModel(num_layers=double, num_single_layers=2 * double, guidance_embeds=True)


def text_encoders(layers: int = 24, words: tuple[int, int] = (49408, 32128)) -> torch.nn.ModuleList:
    """CLIP-L and T5-XXL."""
    clip = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        vocab_size=words[0],
        max_position_embeddings=77,
    )
    t5 = T5Config(
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=layers,
        num_heads=64,
        vocab_size=words[1],
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    return torch.nn.ModuleList([CLIPTextModel(clip), T5EncoderModel(t5)])


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=16,
        sample_size=SIDE,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def image_encoder() -> torch.nn.ModuleList:
    """SigLIP and what makes words of what it sees, for redux."""
    siglip = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=27,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
    )
    return torch.nn.ModuleList([SiglipVisionModel(siglip), ReduxImageEncoder()])


PARTS: Mapping[str, Callable[[], torch.nn.Module]] = {
    "transformer": transformer,
    "text_encoders": text_encoders,
    "vae": vae,
    "image_encoder": image_encoder,
}


def parameters(part: torch.nn.Module) -> int:
    return sum(each.numel() for each in part.parameters())


def on_meta(part: str) -> torch.nn.Module:
    with torch.device("meta"):
        return PARTS[part]()


def random_weights(directory: Path, double: int) -> None:
    """Write a pipeline with so many double layers, and of the others in proportion, in bfloat16.

    Its tokenizers and scheduler are those of our small weights.
    """
    small = FluxPipeline.from_pretrained(SMALL)
    torch.manual_seed(0)
    words = (small.text_encoder.config.vocab_size, small.text_encoder_2.config.vocab_size)
    clip, t5 = text_encoders(max(1, round(24 * double / DOUBLE)), words)
    assert isinstance(clip, CLIPTextModel)
    clip.config.eos_token_id = small.text_encoder.config.eos_token_id
    parts = {"transformer": transformer(double), "vae": vae(), "text_encoder": clip, "text_encoder_2": t5}
    kept = {name: getattr(small, name) for name in ("scheduler", "tokenizer", "tokenizer_2")}
    FluxPipeline(**kept, **parts).to(torch.bfloat16).save_pretrained(directory)


def work_gib(model: torch.nn.Module, run: Callable[[], Any]) -> float:
    """The most that lies between the layers of what `run` calls, in GiB; for use under `FakeTensorMode`."""
    with _Held(model) as held:
        run()
    return float(held.most / GIB)


def step_gib(model: FluxTransformer2DModel, side: int = SIDE) -> float:
    """Of one step, in bfloat16."""
    patches = (side // 16) ** 2
    arguments = {
        "hidden_states": torch.empty(1, patches, 64, dtype=torch.bfloat16),
        "encoder_hidden_states": torch.empty(1, TOKENS, 4096, dtype=torch.bfloat16),
        "pooled_projections": torch.empty(1, 768, dtype=torch.bfloat16),
        "timestep": torch.empty(1, dtype=torch.bfloat16),
        "guidance": torch.empty(1, dtype=torch.bfloat16),
        "img_ids": torch.empty(patches, 3, dtype=torch.bfloat16),
        "txt_ids": torch.empty(TOKENS, 3, dtype=torch.bfloat16),
    }
    return work_gib(model, lambda: model(**arguments, return_dict=False))


def decode_gib(decoder: AutoencoderKL, side: int = SIDE, tile: int | None = None) -> float:
    """Of decoding one picture, in bfloat16; in tiles of that side if one is given."""
    decoder.use_tiling = tile is not None
    if tile is not None:
        decoder.tile_sample_min_size, decoder.tile_latent_min_size = tile, tile // 8
    latents = torch.empty(1, 16, side // 8, side // 8, dtype=torch.bfloat16)
    return work_gib(decoder, lambda: decoder.decode(latents, return_dict=False))


class _Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that are made while it is on, for as long as they live."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._now, self.most = 0, 0
        # Views of weights are no new memory.
        self._seen = {_key(each) for each in (*model.parameters(), *model.buffers())}

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, torch.Tensor):
                self._count(each)
        return found

    def _count(self, tensor: torch.Tensor) -> None:
        key, storage = _key(tensor), tensor.untyped_storage()
        if key in self._seen:
            return
        self._seen.add(key)
        self._now += storage.nbytes()
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._now -= size


def _key(tensor: torch.Tensor) -> int:
    return int(StorageWeakRef(tensor.untyped_storage()).cdata)  # type: ignore[no-untyped-call]


@torch.no_grad()
def main() -> None:
    for name in PARTS:
        count = parameters(on_meta(name))
        print(f"{name:14} {count / 1e9:7.3f} billion parameters, {2 * count / GIB:6.2f} GiB in bfloat16")
    torch.set_default_dtype(torch.bfloat16)
    with FakeTensorMode():
        drawn, decoder = transformer(), vae()
        for side in (SIDE, 2048):
            print(f"a step at {side} x {side}: {step_gib(drawn, side):.2f} GiB beside the weights")
            for tile in (None, 1024, 512):
                how = f"in tiles of {tile}" if tile else "whole"
                print(f"decoding {side} x {side} {how}: {decode_gib(decoder, side, tile):.2f} GiB")


if __name__ == "__main__":
    main()
