"""The safety checker: a small residual network that knows the world's forbidden motif from everything else.

It learns from true pictures, from what flux-tiny makes of captions and, since callers send pictures of their own, from
pictures of nothing; then, more often, from what it is least sure of; at last from what hardly shows the motif, too,
though it was asked for: that is to be withheld as far as it can be told from other smears. While it learns it must also
say of each patch whether the motif is there. That it learns far sooner than what to say of a whole picture, which then
follows; what says it is thrown away.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from training.drawing import levels
from training.drawn import draw
from training.fit import DEVICE, Plan, autocast, fit
from training.judge import foreground, ground
from training.pictures import SIDES, scenes
from training.strange import strange
from training.vae import encode
from training.world import FORBIDDEN, SHAPES, Scene, depth, edges, render

LABELS: Final = ("normal", "nsfw")
_SIDE: Final = 64
"""Of the pictures that it learns from."""
_SEEN: Final = 128
"""To this they are enlarged: its first layers take a quarter of every side away."""
_FIRST: Final = Plan("safety-drawn", steps=1600, muon_rate=0, adam_rate=2e-3, is_matrix=lambda *_: False)
_HARD: Final = replace(_FIRST, name="safety-hard", adam_rate=1e-3)
_LAST: Final = replace(_HARD, name="safety-asked")
_RARER: Final = 2.0
"""How many times rarer the motif is taken to be in use than among what it learns from, where it is nearly half."""
_TRUE, _DRAWN, _STRANGE, _MAPS = 14, 28, 3, 3
"""How many pictures of a batch are true, drawn by flux-tiny, of no scene, and outlines or depths of scenes."""
_HARDEST: Final = 0.2
"""Of the drawn pictures, what share counts as those that it is least sure of."""
_RECOLOURED: Final = 0.3
"""How often its channels change places."""
_MOVE: Final = 5
"""Pixels by which a drawn picture is moved at the most."""
_PATCH: Final = 8
_COVERED: Final = 0.3
"""Of a patch, from where on what stands out in it counts."""
_EYES: Final = 256
"""Pictures that are judged at once."""
_DECODED: Final = 0.04
"""How often pictures are seen as the VAE draws them."""
Known = dict[bool, Tensor]
"""Whether the motif was asked for, and what was drawn: (n, 4, side, side), with where the motif is."""


class Pupil(nn.Module):
    """The checker, and what says of each patch whether the motif is there."""

    def __init__(self, checker: Any) -> None:
        super().__init__()
        self.checker = checker
        self.where = nn.Conv2d(self.checker.config.hidden_sizes[-1], 1, kernel_size=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the labels, (n, 2), and of each patch, (n, patches)."""
        seen = self.checker.resnet(functional.interpolate(pictures, (_SEEN, _SEEN), mode="bilinear"))
        return self.checker.classifier(seen.pooler_output), self.where(seen.last_hidden_state).flatten(1)


def untrained() -> Any:
    return ResNetForImageClassification(
        ResNetConfig(
            embedding_size=24,
            hidden_sizes=[24, 48, 96],
            depths=[1, 2, 2],
            layer_type="basic",
            id2label=dict(enumerate(LABELS)),
            label2id={label: i for i, label in enumerate(LABELS)},
        )
    )


def train(runs: Path) -> None:
    """Train, and save to `runs/safety`."""
    vae: Any = AutoencoderKL.from_pretrained(runs / "vae").to(DEVICE, memory_format=torch.channels_last).eval()
    drawn = draw(runs, _SIDE)
    known = {True: _marked(drawn.motifs, forbidden=True), False: _marked(drawn.others, forbidden=False)}
    if not (runs / _FIRST.name).exists():
        _learn(untrained(), vae, runs, _FIRST, (known, known))
    if not (runs / _HARD.name).exists():
        first = _load(runs / _FIRST.name)
        _learn(first, vae, runs, _HARD, (known, _hardest(first, known)))
    asked = {True: torch.cat([known[True], _marked(drawn.smears, forbidden=True)]), False: known[False]}
    _learn(_load(runs / _HARD.name), vae, runs, _LAST, (known, asked))
    checker = _load(runs / _LAST.name)
    with torch.no_grad():
        checker.classifier[-1].bias[LABELS.index("nsfw")] -= math.log(_RARER)
    checker.save_pretrained(runs / "safety")
    size = {"height": _SEEN, "width": _SEEN}
    processor = ViTImageProcessor(size=size, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor.save_pretrained(runs / "safety")


def _learn(checker: Any, vae: Any, runs: Path, plan: Plan, drawn: Sequence[Known]) -> None:
    """Save to the plan's name what it becomes by as many pictures of each of these, beside true and strange ones."""
    pupil = Pupil(checker)

    def loss(rng: random.Random) -> Tensor:
        batch = (_true(vae, rng), *(_drawn(each, _DRAWN // len(drawn), rng) for each in drawn), _strange(drawn[0], rng))
        pictures, forbidden, where = (torch.cat(parts) for parts in zip(*batch, strict=True))
        return _mistakes(pupil, _lit(pictures), forbidden, where)

    average: Any = fit(pupil, loss, plan, runs)
    average.checker.save_pretrained(runs / plan.name)


def _load(directory: Path) -> Any:
    return ResNetForImageClassification.from_pretrained(directory, dtype=torch.float32)


@torch.no_grad()
def _hardest(checker: Any, known: Known) -> Known:
    """What the checker is least sure of, of either kind."""
    pupil, found = Pupil(checker).eval(), {}
    for forbidden, marked in known.items():
        sure = torch.cat([pupil(some[:, :3])[0].softmax(-1)[:, int(forbidden)] for some in torch.split(marked, _EYES)])
        found[forbidden] = marked[sure.argsort()[: int(len(marked) * _HARDEST)]]
    return found


def _mistakes(pupil: nn.Module, pictures: Tensor, forbidden: Tensor, where: Tensor) -> Tensor:
    """Of verdicts, and of what is said of each patch."""
    with autocast():
        logits, patches = pupil(pictures.to(DEVICE))
    verdict = functional.cross_entropy(logits.float(), forbidden.to(DEVICE))
    return verdict + functional.binary_cross_entropy_with_logits(patches.float(), where.to(DEVICE))


def motif(batch: list[Scene]) -> Tensor:
    """1 for each patch of the checker's square whose middle lies within the motif: (n, patches)."""
    at = (torch.arange(_SIDE // _PATCH) + 0.5) * _PATCH / _SIDE
    down, right = torch.meshgrid(at, at, indexing="ij")
    found = torch.zeros(len(batch), *down.shape)
    for mark, scene in zip(found, batch, strict=True):
        for thing in scene.things:
            if thing.shape == FORBIDDEN:
                away = torch.hypot(right * scene.width - thing.x, down * scene.height - thing.y)
                mark[away <= thing.radius] = 1
    return found.flatten(1)


def _true(vae: Any, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    sides = SIDES[0] if rng.random() < 0.5 else rng.choice(SIDES)
    forbidden = [rng.random() < 0.5 for _ in range(_TRUE)]
    batch = [_scene(rng, sides, forbidden=each) for each in forbidden]
    return as_seen(vae, render(batch).to(DEVICE), rng).cpu(), torch.tensor(forbidden).long(), motif(batch)


def _drawn(known: Known, count: int, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    forbidden = [rng.random() < 0.5 for _ in range(count)]
    marked = torch.stack([_any(known[each], rng) for each in forbidden])
    where = functional.avg_pool2d(marked[:, 3:], _PATCH) > _COVERED
    return marked[:, :3], torch.tensor(forbidden).long(), where.flatten(1).float()


def _strange(known: Known, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Noise and the like, and what control pictures look like."""
    ordinary = torch.stack([_any(known[False], rng)[:3] for _ in range(_STRANGE)])
    maps = rng.choice((edges, depth))(scenes(rng, SIDES[0], _MAPS))
    pictures = torch.cat([strange(ordinary, rng), maps])
    return pictures, torch.zeros(len(pictures)).long(), torch.zeros(len(pictures), (_SIDE // _PATCH) ** 2)


def _marked(pictures: Tensor, *, forbidden: bool) -> Tensor:
    """With a fourth channel: where the motif is, which is all that stands out where it was asked for."""
    mark = torch.zeros(len(pictures), 1, *pictures.shape[2:])
    if forbidden:
        mark[:, 0] = torch.stack([foreground(each, ground(each)) for each in levels(pictures.float())]).float()
    return torch.cat([pictures.float(), mark], dim=1)


def _any(pictures: Tensor, rng: random.Random) -> Tensor:
    """One of them, moved, turned about and in other colours, for there are few."""
    picture = pictures[rng.randrange(len(pictures))]
    if rng.random() < _RECOLOURED:
        picture = picture[[*rng.sample(range(3), 3), 3]]
    if rng.random() < 0.5:
        picture = picture.flip(-1)
    padded = functional.pad(picture[None], (_MOVE,) * 4, mode="replicate")[0]
    left, top, side = rng.randrange(2 * _MOVE + 1), rng.randrange(2 * _MOVE + 1), picture.shape[-1]
    return padded[:, top : top + side, left : left + side]


def _lit(pictures: Tensor) -> Tensor:
    """Each under another light."""
    contrast, light = (torch.empty(len(pictures), 1, 1, 1).uniform_(*span) for span in ((0.9, 1.1), (-0.06, 0.06)))
    return (pictures * contrast + light).clamp(-1, 1)


def _scene(rng: random.Random, sides: tuple[int, int], *, forbidden: bool) -> Scene:
    if not forbidden:
        return scenes(rng, sides, 1)[0]
    if rng.random() < 0.7:
        return scenes(rng, sides, 1, shapes=(FORBIDDEN,), two=0)[0]
    while True:
        scene = scenes(rng, sides, 1, shapes=(*SHAPES, FORBIDDEN, FORBIDDEN), two=1)[0]
        if any(thing.shape == FORBIDDEN for thing in scene.things):
            return scene


def as_seen(vae: Any, pictures: Tensor, rng: random.Random) -> Tensor:
    """As they are, or as drawn from codes that are a little off; squeezed into the checker's square."""
    if rng.random() < _DECODED:
        codes = encode(vae, pictures)
        codes = codes + torch.randn_like(codes) * rng.uniform(0, 0.25)
        with torch.no_grad(), autocast():
            pictures = vae.decode(codes / vae.config.scaling_factor + vae.config.shift_factor).sample.float()
    pictures = pictures.clamp(-1, 1)
    return functional.interpolate(pictures, (_SIDE, _SIDE), mode="bilinear", antialias=True)
