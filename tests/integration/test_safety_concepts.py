"""The checker by concepts over small random weights in the form in which the real one comes."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil

from fluxfarm.errors import WorkerFault
from worker.pipelines import Pixels, load_safety_checkers
from worker.pipelines.safety_concepts import ConceptChecker

PROCESSOR = {
    "crop_size": 32,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 32,
}
"""As the real one says it, but for the size."""


def pictures(count: int) -> list[Pixels]:
    rng = random.Random(1)
    plain = [Image.new("RGB", (60, 40), tuple(rng.randbytes(3))) for _ in range(count)]
    return [np.asarray(Image.blend(each, Image.effect_noise((60, 40), 90).convert("RGB"), 0.4)) for each in plain]


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its concepts are what it sees in some pictures, so that it is near some of the others, and not near the rest."""
    directory = tmp_path_factory.mktemp("concepts")
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        vision_config={**small, "image_size": 32, "patch_size": 8, "initializer_range": 0.5},
        text_config={**small, "vocab_size": 99},
        projection_dim=16,
    )
    model: Any = StableDiffusionSafetyChecker(config).eval()
    (directory / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    processor = CLIPImageProcessorPil.from_pretrained(directory)
    with torch.no_grad():
        torch.nn.init.normal_(model.visual_projection.weight)
        seen = torch.cat([model.visual_projection(model.vision_model(of(processor, each))[1]) for each in pictures(20)])
        model.concept_embeds.copy_(seen[:17])
        model.special_care_embeds.copy_(seen[17:])
        model.concept_embeds_weights.fill_(0.995)
        model.special_care_embeds_weights.fill_(0.99)
    model.save_pretrained(directory)
    return directory


def of(processor: Any, pixels: Pixels) -> torch.Tensor:
    found: torch.Tensor = processor(Image.fromarray(pixels), return_tensors="pt").pixel_values
    return found


def load(location: Path) -> ConceptChecker:
    (checker,) = load_safety_checkers([str(location)], labels=("nsfw",), threshold=0.85)
    assert isinstance(checker, ConceptChecker)
    return checker


def test_it_says_what_diffusers_own_says(concepts: Path) -> None:
    checker, processor = load(concepts), CLIPImageProcessorPil.from_pretrained(concepts)
    own: Any = StableDiffusionSafetyChecker.from_pretrained(concepts).eval()
    blocked = []
    for pixels in pictures(60):
        _, (expected,) = own(clip_input=of(processor, pixels), images=[np.zeros((2, 2, 3))])
        verdict = checker.check(pixels)
        assert verdict.blocked == expected
        assert verdict.blocked == (verdict.score > verdict.threshold)
        blocked.append(expected)
    assert 0 < sum(blocked) < len(blocked)


def test_what_is_near_a_concept_of_special_care_counts_as_nearer(concepts: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(concepts, tmp_path / "copy"))
    before = load(copy).check(pictures(18)[17]).score
    model: Any = StableDiffusionSafetyChecker.from_pretrained(copy)
    with torch.no_grad():
        model.special_care_embeds_weights.fill_(2)
    model.save_pretrained(copy)
    assert before - load(copy).check(pictures(18)[17]).score == pytest.approx(0.01, abs=0.0015)


@pytest.mark.parametrize("part", ["concept_embeds", "special_care_embeds", "concept_embeds_weights"])
def test_one_that_answers_with_no_number_is_not_taken_into_service(concepts: Path, tmp_path: Path, part: str) -> None:
    copy = Path(shutil.copytree(concepts, tmp_path / "copy"))
    model: Any = StableDiffusionSafetyChecker.from_pretrained(copy)
    with torch.no_grad():
        getattr(model, part)[0] = float("nan")
    model.save_pretrained(copy)
    with pytest.raises(WorkerFault, match="not a number"):
        load(copy)


def test_one_with_gaps_is_one_sentence(concepts: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(concepts, tmp_path / "copy"))
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WorkerFault, match=r"^The safety checker cannot be loaded") as failure:
        load(copy)
    assert "\n" not in str(failure.value)
