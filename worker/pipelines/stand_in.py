"""Builds stand-in weights: small random numbers in FLUX.1's form on disk, so that the service runs without real ones.

The same versions of the libraries build the same bytes. `python -m worker.pipelines.stand_in DIR` does it by hand.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

SEED = 20
JOINT = 32
POOLED = 32
WORDS = (
    "a an the and or of in on at to with from by for is as it its no not one two three red green blue yellow "
    "black white orange purple pink brown gray dark light bright soft big small old new circle square triangle "
    "background cat dog bird horse fish flower tree forest mountain river lake sea sky sun moon star cloud city "
    "street house room table chair book cup man woman child girl boy face hand eyes hair photo painting drawing "
    "picture image style portrait landscape art detailed realistic cinematic film camera lens color colour high "
    "low wide close up view sunset night day morning light"
)


def build(directory: Path) -> None:
    """Put stand-in weights into `directory`, all or nothing; where some are already, nothing is done."""
    if _is_built(directory):
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    transformers.utils.logging.disable_progress_bar()
    workshop = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        with _own_random_numbers():
            _pipeline().save_pretrained(workshop / "made", safe_serialization=True)
        _move(workshop / "made", directory)
    finally:
        shutil.rmtree(workshop)


def _move(made: Path, directory: Path) -> None:
    try:
        made.rename(directory)
    except OSError:
        # A rename onto a filled directory fails: another process was first, and what it put there is equal.
        if not _is_built(directory):
            raise


def _is_built(directory: Path) -> bool:
    return (directory / "model_index.json").is_file()


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield


def _pipeline() -> FluxPipeline:
    clip_tokenizer, t5_tokenizer = _clip_tokenizer(), _t5_tokenizer()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
        vae=_vae(),
        text_encoder=_clip(clip_tokenizer),
        tokenizer=clip_tokenizer,
        text_encoder_2=_t5(t5_tokenizer),
        tokenizer_2=t5_tokenizer,
        transformer=_transformer(),
    )


def _clip_tokenizer() -> CLIPTokenizer:
    """Every byte as a token of its own, so that no text is unknown."""
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _byte_letters() -> list[str]:
    """The 256 letters by which byte-level tokenizers write bytes: itself where printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + rest.index(byte)) for byte in range(256)]


def _t5_tokenizer() -> T5Tokenizer:
    """Some words, and the letters of a few scripts; what is in neither becomes the unknown token."""
    words = [("▁" + word, -4.0) for word in dict.fromkeys(WORDS.split())]
    letters = [chr(code) for code in range(0x21, 0x500) if chr(code).isprintable()]
    known = {word for word, _ in words}
    starts = [("▁" + letter, -9.0) for letter in letters if "▁" + letter not in known]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0)]
    vocabulary = [*special, *words, *starts, *((letter, -8.0) for letter in letters)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def _liven(module: torch.nn.Module, *, gain: float) -> None:
    """Random numbers large enough that what goes in decides what comes out; the libraries' own mostly cancel out."""
    for part in module.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=gain / part.in_features**0.5)
        elif isinstance(part, torch.nn.Embedding):
            torch.nn.init.normal_(part.weight)


def _clip(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=POOLED,
            intermediate_size=4 * POOLED,
            projection_dim=POOLED,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    _liven(model, gain=1.5)
    return model


def _t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=JOINT,
            d_kv=16,
            d_ff=64,
            num_layers=1,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def _transformer() -> FluxTransformer2DModel:
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=JOINT,
        pooled_projection_dim=POOLED,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    _liven(transformer, gain=1.0)
    return transformer


def _vae() -> AutoencoderKL:
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=16,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        force_upcast=False,
        sample_size=128,
        scaling_factor=3.5,
        shift_factor=0.0,
    )
    # The second half of what the encoder says is the logarithm of a variance: next to none, so that the picture counts.
    torch.nn.init.constant_(vae.encoder.conv_out.bias[16:], -10.0)
    return vae


if __name__ == "__main__":
    build(Path(sys.argv[1]))
