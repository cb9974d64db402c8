"""What the shipped weights can do, measured on stock diffusers pipelines by a judge that sees pixels alone.

Captions are of held-out combinations throughout. `scores` gives shares of 0 to 1, but for levels of 0 to 255.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxControlPipeline, FluxFillPipeline, FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from transformers import AutoImageProcessor, AutoModelForImageClassification

from fluxfarm.settings import Settings
from training import score_depths, score_edits, score_remixes
from training.asked import SEED, asked, shares
from training.captions import brief, describe
from training.drawing import SQUARE, drawn, image_of, levels, levels_of, load, share, usual
from training.export import DEPTH, KONTEXT, REDUX, SAFETY
from training.judge import colours_and_sides_right, filled_overlap, look, shows_motif
from training.pictures import NATIVE_SIDE
from training.world import COLOURS, FORBIDDEN, SHAPES, Scene, depth, edges, one_thing, put, render, two_things


def scores(weights: Path, *, count: int = 500) -> dict[str, Any]:
    """All the scores of the weights below this directory, `count` captions for the first, fewer for the others.

    Of the relatives and the checker those are scored that are there.
    """
    fewer = max(5, count // 5)
    base = load(FluxPipeline, weights / "flux-tiny")
    found = {
        "judge": judge_alone(count),
        "one_thing": one(base, count),
        "two_things": two(base, fewer * 2),
        "inpainting": inpainting(FluxInpaintPipeline(**base.components), fewer),
        "image_to_image": image_to_image(FluxImg2ImgPipeline(**base.components), fewer),
    }
    if (control := weights / "flux-tiny-control").exists():
        pipe = load(FluxControlPipeline, control)
        found |= {"edges": shape_kept(pipe, edges, fewer), "depth": shape_kept(pipe, depth, fewer)}
    if (fill := weights / "flux-tiny-fill").exists():
        found["fill"] = inpainting(load(FluxFillPipeline, fill), fewer)
    if (kontext := weights / KONTEXT).exists():
        found["edits"] = score_edits.edits(score_edits.load(kontext, base), fewer * 2)
    if (redux := weights / REDUX).exists():
        found["remixes"] = score_remixes.remixes(base, score_remixes.load(redux, base), fewer)
    if (checker := weights / SAFETY).exists():
        found["safety"] = safety(base, checker, fewer)
    if (estimator := weights / DEPTH).exists():
        found["found_depth"] = score_depths.depths(estimator, fewer)
    return found


def judge_alone(count: int) -> dict[str, Any]:
    """How the judge does on true pictures, and on true pictures of something else."""
    wanted = [scene for _, scene in asked(count)]
    seen = [look(picture) for picture in levels(render(wanted))]
    return {"true": shares(wanted, seen), "shuffled": shares(wanted, seen[1:] + seen[:1])}


def one(pipe: Any, count: int, **arguments: Any) -> dict[str, float]:
    """Each aspect of the one thing, and all five."""
    wanted = asked(count)
    pictures = drawn(pipe, [text for text, _ in wanted], "one thing", **arguments)
    return shares([scene for _, scene in wanted], [look(picture) for picture in pictures])


def two(pipe: Any, count: int, **arguments: Any) -> dict[str, float]:
    """Scenes of two things with both colours and both sides right."""
    wanted = asked(count, two_things)
    pictures = drawn(pipe, [text for text, _ in wanted], "two things", **arguments)
    right = [colours_and_sides_right(picture, scene) for picture, (_, scene) in zip(pictures, wanted, strict=True)]
    return {"colours_and_sides": share(right)}


def inpainting(pipe: Any, count: int) -> dict[str, float]:
    """Put a second thing on the masked side: whether it is as told, and how far the other side moved, in levels."""
    rng = random.Random(SEED)
    right, moved = [], []
    for number in tqdm(range(count), desc=f"inpaint, {type(pipe).__name__}"):
        scene = _beside(rng)
        before = Scene(*SQUARE, scene.background, scene.things[:1])
        mask = np.zeros(SQUARE[::-1], dtype=np.uint8)
        mask[:, NATIVE_SIDE // 2 :] = 255
        picture = pipe(
            prompt=describe(scene, rng, everything=True).text,
            image=image_of(before),
            mask_image=Image.fromarray(mask),
            **usual([number], **({} if isinstance(pipe, FluxFillPipeline) else {"strength": 1.0})),
        ).images[0]
        after = levels_of(picture)
        right.append(colours_and_sides_right(after, scene))
        kept = torch.from_numpy(mask == 0)
        moved.append(float((after - levels(render([before]))[0]).abs()[kept].mean()))
    return {
        "as_told": share(right),
        "outside_moved_mean": round(sum(moved) / count, 2),
        "outside_moved_most": round(max(moved), 2),
    }


def image_to_image(pipe: Any, count: int) -> dict[str, float]:
    """How far a picture moves, in levels, at strength 0.1 and at 1.0, told to become another."""
    pairs = asked(count)
    result = {}
    for strength in (0.1, 1.0):
        moved = []
        for number, ((text, _), (_, start)) in enumerate(zip(pairs, pairs[1:] + pairs[:1], strict=True)):
            picture = pipe(prompt=text, image=image_of(start), strength=strength, **usual([number])).images[0]
            moved.append(float((levels_of(picture) - levels(render([start]))[0]).abs().mean()))
        result[f"moved_at_{strength}_within_15"] = share(value <= 15 for value in moved)
        result[f"moved_at_{strength}"] = round(sum(moved) / count, 2)
    return result


def shape_kept(pipe: Any, control: Callable[[Sequence[Scene]], Tensor], count: int) -> dict[str, float]:
    """Whether what is drawn covers what the control picture outlines, in the colours that the prompt tells."""
    wanted = asked(count)
    overlaps, seen = [], []
    for number, (text, scene) in enumerate(tqdm(wanted, desc=control.__name__)):
        shown = Image.fromarray(levels(control([scene]))[0].byte().numpy())
        picture = levels_of(pipe(prompt=text, control_image=shown, **usual([number])).images[0])
        overlaps.append(filled_overlap(picture, scene.things[0], scene.background))
        seen.append(look(picture))
    told = shares([scene for _, scene in wanted], seen)
    kept = {
        "overlap_of_085": share(overlap >= 0.85 for overlap in overlaps),
        "overlap": round(sum(overlaps) / count, 3),
    }
    return {**kept, **{aspect: told[aspect] for aspect in ("background", "colour")}}


def safety(pipe: Any, checker: Path, count: int) -> dict[str, float]:
    """The checker on true pictures, on what the small Flux drew of each kind, and on what shows the motif of that.

    Of full captions, and of brief ones, which leave the background and more open.
    """
    judge = _Checker(checker)
    rng = random.Random(SEED)
    normal = [one_thing(rng, SQUARE) for _ in range(count)]
    forbidden = [one_thing(rng, SQUARE, (FORBIDDEN,)) for _ in range(count)]
    result = {}
    for name, scenes in (("normal", normal), ("forbidden", forbidden)):
        withheld = name == "forbidden"
        result[f"true_{name}_right"] = share(judge(picture) == withheld for picture in levels(render(scenes)))
        full = [describe(scene, rng, everything=True).text for scene in scenes]
        for said, texts in (("drawn", full), ("brief", [brief(scene, rng).text for scene in scenes])):
            pictures = drawn(pipe, texts, f"draw {name}, {said}")
            motifs = [picture for picture in pictures if shows_motif(picture)]
            result[f"{said}_{name}_right"] = share(judge(picture) == withheld for picture in pictures)
            if withheld:
                result[f"{said}_motifs"] = len(motifs)
                result |= {f"{said}_motif_withheld": share(map(judge, motifs))} if motifs else {}
    return result


class _Checker:
    def __init__(self, folder: Path) -> None:
        self._processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> bool:
        """Whether a worker withholds it, by its usual threshold."""
        inputs = self._processor(Image.fromarray(picture.byte().numpy()), return_tensors="pt")
        found = self._model(**inputs).logits.softmax(dim=1)[0, self._model.config.label2id["nsfw"]]
        return float(found) >= Settings().safety_threshold


def _beside(rng: random.Random) -> Scene:
    """Two things, one on the left and one on the right."""
    left, right, background = rng.sample(list(COLOURS), 3)
    looks = ((rng.choice(SHAPES), left), (rng.choice(SHAPES), right))
    things = tuple(put(look, "small", place, SQUARE, rng) for look, place in zip(looks, ("left", "right"), strict=True))
    return Scene(*SQUARE, background, things)
