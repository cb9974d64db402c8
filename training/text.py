"""Tokenizers and text encoders: a CLIP that sums a caption up, and a T5 whose tokens know what belongs to what.

Both are trained first, by themselves, to tell what a caption says (shapes, colours, sizes, places, which is whose).
That takes minutes, and spares the transformer from learning to read through the losses of pictures, which takes hours.
"""

import random
import string
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from training.captions import NOTHING, SIZE_WORDS, Caption, ToldThing, describe
from training.fit import DEVICE, Plan, autocast, fit
from training.pictures import scenes
from training.world import COLOURS, FORBIDDEN, PLACES, SHAPES, SIZES

CLIP_WIDTH: Final = 128
T5_WIDTH: Final = 128
CLIP_LENGTH: Final = 77
"""FluxPipeline always asks CLIP for as many tokens as its tokenizer allows."""
LENGTHS: Final = (32, 32, 32, 32, 32, 32, 32, 32, 32, 64, 64, 512)
"""Lengths in tokens that T5 is trained at; FluxPipeline masks no padding, so its amount has to be learned."""
_NO_MATRICES: Final = ("embed", "shared", "relative", "heads")
_PLAN: Final = Plan(
    "text",
    steps=3000,
    muon_rate=0.02,
    adam_rate=2e-3,
    is_matrix=lambda name, weight: weight.ndim == 2 and not any(part in name for part in _NO_MATRICES),
)
_BATCH: Final = 64
_CONNECTIVES: Final = (
    "a", "an", "on", "at", "in", "the", "to", "of", "and", "with", "over", "is", "plain", "background", "corner",
    "above", "below", "left", "right", "top", "bottom", "upper", "lower", "center", "centre", "centered", "middle",
    "disc", "dot", "box", "rhombus", "donut", "plus", "sign", "skull", "crossbones", "grey", "top-left", "top-right",
    "bottom-left", "bottom-right",
)  # fmt: skip
_ASPECTS: Final = ((*SHAPES, FORBIDDEN), tuple(COLOURS), tuple(SIZES), tuple(PLACES))


def words() -> list[str]:
    """Every word that means something here, in lower case."""
    sizes = {word for many in SIZE_WORDS.values() for word in many}
    return sorted({*_CONNECTIVES, *COLOURS, *SHAPES, *sizes})


def tokenizers() -> tuple[Any, Any]:
    """CLIP's and T5's, with vocabularies written by hand: trained ones differ from run to run.

    Each known word is one token; of others CLIP sees letters and T5 one unknown.
    """
    return _clip_tokenizer(), _t5_tokenizer()


def _clip_tokenizer() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(f"{letter}</w>" for letter in alphabet)]
    merges: dict[tuple[str, str], None] = {}
    for word in words():
        for part in word.split("-"):
            letters = [*part[:-1], f"{part[-1]}</w>"]
            while len(letters) > 1:
                merges[letters[0], letters[1]] = None
                letters[:2] = ["".join(letters[:2])]
                vocabulary.append(letters[0])
    ids = {token: i for i, token in enumerate(dict.fromkeys(vocabulary))}
    return CLIPTokenizer(vocab=ids, merges=list(merges), model_max_length=CLIP_LENGTH)


def _t5_tokenizer() -> Any:
    """T5 keeps case, so each word stands in all the cases that people write it in."""
    cased = dict.fromkeys(form for word in words() for form in (word, word.capitalize(), word.title(), word.upper()))
    punctuation = [(mark, -6.0) for mark in string.punctuation]
    known = [(f"▁{word}", -4.0) for word in cased]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -6.0)]
    return T5Tokenizer(vocab=[*specials, *known, *punctuation], extra_ids=0, model_max_length=512)


def untrained(clip_tokenizer: Any, t5_tokenizer: Any) -> tuple[Any, Any]:
    """Both encoders, two layers each."""
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip_tokenizer),
            hidden_size=CLIP_WIDTH,
            intermediate_size=256,
            projection_dim=CLIP_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CLIP_LENGTH,
            bos_token_id=clip_tokenizer.bos_token_id,
            eos_token_id=clip_tokenizer.eos_token_id,
            pad_token_id=clip_tokenizer.pad_token_id,
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=len(t5_tokenizer),
            d_model=T5_WIDTH,
            d_kv=32,
            d_ff=256,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    _look_at_neighbours(t5)
    return clip, t5


def _look_at_neighbours(t5: Any) -> None:
    """FLUX gives text no positions: that 'red' belongs to the next word has to come from T5, which is helped to it."""
    bias = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.data
    for head, bucket in enumerate((1, 9, 2, 10)):
        bias[bucket, head] += 4.0


class Readers(nn.Module):
    """What reads from the encoders while they are trained, and is thrown away: a guess for each aspect of a caption."""

    def __init__(self) -> None:
        super().__init__()
        counts = choices()
        self.of_clip = nn.Linear(CLIP_WIDTH, sum(counts))
        self.questions = nn.Parameter(torch.randn(len(counts), T5_WIDTH) * 0.1)
        self.of_t5 = nn.ModuleList(nn.Linear(T5_WIDTH, count) for count in counts)

    def read_clip(self, summary: Tensor) -> list[Tensor]:
        return list(self.of_clip(summary).split(choices(), dim=-1))

    def read_t5(self, tokens: Tensor) -> list[Tensor]:
        """Each aspect has a question of its own, answered by the tokens that it attends to."""
        attention = torch.softmax(tokens @ self.questions.T, dim=1)
        answers = attention.transpose(1, 2) @ tokens
        return [guess(answers[:, i]) for i, guess in enumerate(self.of_t5)]


def choices() -> list[int]:
    """How many answers each aspect has; the first of each is 'unsaid'."""
    return [len(COLOURS) + 1, *(len(names) + 1 for _ in range(2) for names in _ASPECTS)]


def answers(caption: Caption) -> list[int]:
    """What the caption says, as numbers of answers: the background, then each thing's shape, colour, size and place."""
    numbers = [_number(caption.told.background, tuple(COLOURS))]
    for i in range(2):
        thing = caption.told.things[i] if i < len(caption.told.things) else None
        numbers += _of_thing(thing)
    return numbers


def _of_thing(thing: ToldThing | None) -> list[int]:
    if thing is None:
        return [0] * len(_ASPECTS)
    said = (thing.shape, thing.colour, thing.size, thing.place)
    return [_number(name, names) for name, names in zip(said, _ASPECTS, strict=True)]


def _number(name: str | None, names: tuple[str, ...]) -> int:
    return 0 if name is None else names.index(name) + 1


def clip_ids(tokenizer: Any, texts: list[str]) -> Tensor:
    padded = tokenizer(texts, padding="max_length", max_length=CLIP_LENGTH, truncation=True, return_tensors="pt")
    return padded.input_ids.to(DEVICE)  # type: ignore[no-any-return]


def t5_ids(tokenizer: Any, texts: list[str], length: int) -> Tensor:
    padded = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return padded.input_ids.to(DEVICE)  # type: ignore[no-any-return]


def train(runs: Path) -> None:
    """Build the tokenizers, train the encoders, and save all four below `runs`."""
    clip_tokenizer, t5_tokenizer = tokenizers()
    clip, t5 = untrained(clip_tokenizer, t5_tokenizer)
    model = nn.ModuleDict({"clip": clip, "t5": t5, "heads": Readers()})

    def loss(rng: random.Random) -> Tensor:
        length = rng.choice(LENGTHS)
        captions = _captions(rng, _BATCH if length <= 64 else _BATCH // 8)
        texts = [caption.text for caption in captions]
        wanted = torch.tensor([answers(caption) for caption in captions], device=DEVICE)
        with autocast():
            summary = model["clip"](trimmed(clip_ids(clip_tokenizer, texts), clip_tokenizer.eos_token_id)).pooler_output
            tokens = model["t5"](t5_ids(t5_tokenizer, texts, length))[0]
        heads: Any = model["heads"]
        guesses = zip(heads.read_clip(summary.float()), heads.read_t5(tokens.float()), wanted.unbind(1), strict=True)
        return sum(  # type: ignore[return-value]
            functional.cross_entropy(by_clip, each) + functional.cross_entropy(by_t5, each)
            for by_clip, by_t5, each in guesses
        )

    average = fit(model, loss, _PLAN, runs)
    parts = {"clip": average.get_submodule("clip"), "t5": average.get_submodule("t5")}
    for name, part in {**parts, "clip-tokenizer": clip_tokenizer, "t5-tokenizer": t5_tokenizer}.items():
        part.save_pretrained(runs / name)


def _captions(rng: random.Random, count: int) -> list[Caption]:
    batch = scenes(rng, (64, 64), count, shapes=(*SHAPES, FORBIDDEN), two=0.4)
    return [Caption("", NOTHING) if rng.random() < 0.03 else describe(scene, rng) for scene in batch]


def trimmed(ids: Tensor, end: int) -> Tensor:
    """Without the columns that are padding in every row: CLIP looks only backwards, so they change nothing."""
    longest = int((ids == end).int().argmax(dim=1).max()) + 1
    return ids[:, :longest]
