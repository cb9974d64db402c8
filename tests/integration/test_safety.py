"""The safety checker over a tiny classifier in the form in which real ones come."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification

from fluxfarm.errors import WorkerFault
from fluxfarm.settings import Settings
from worker.checking import Checking
from worker.pipelines import Checker, Pixels, load_safety_checkers

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "size": {"height": 16, "width": 16},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def load(location: str, *, labels: tuple[str, ...] = ("nsfw",), threshold: float = 0.85) -> Checker:
    (checker,) = load_safety_checkers([location], labels=labels, threshold=threshold)
    return checker


def picture(colour: str) -> Pixels:
    return np.asarray(Image.new("RGB", (96, 64), colour))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random numbers below, and above them a last layer that takes red for nsfw and blue for normal."""
    directory = tmp_path_factory.mktemp("classifier")
    (directory / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    torch.manual_seed(0)
    model: Any = ViTForImageClassification(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=16,
            patch_size=8,
            initializer_range=0.5,
            id2label={0: "normal", 1: "nsfw"},
            label2id={"normal": 0, "nsfw": 1},
        )
    ).eval()
    processor = AutoImageProcessor.from_pretrained(directory, backend="pil")
    with torch.no_grad():
        red, blue = (
            model.vit(**processor(Image.fromarray(picture(colour)), return_tensors="pt")).last_hidden_state[0, 0]
            for colour in ("red", "blue")
        )
        towards_red = (red - blue) / (red - blue).pow(2).sum() * 10
        model.classifier.weight.copy_(torch.stack([torch.zeros_like(red), towards_red]))
        model.classifier.bias.copy_(torch.stack([torch.zeros(()), -(red + blue) @ towards_red / 2]))
    model.save_pretrained(directory)
    return directory


def test_it_blocks_what_the_classifier_finds(classifier: Path) -> None:
    checker = load(str(classifier), labels=("nsfw",), threshold=0.85)
    red, blue = checker.check(picture("red")), checker.check(picture("blue"))
    assert (red.label, red.blocked, blue.label, blue.blocked) == ("nsfw", True, "nsfw", False)
    assert blue.score < 0.15
    assert red.score > 0.85


def test_the_labels_and_the_threshold_decide(classifier: Path) -> None:
    other_way = load(str(classifier), labels=("Normal",), threshold=0.85)
    assert other_way.check(picture("blue")).blocked
    assert not other_way.check(picture("red")).blocked
    never = load(str(classifier), labels=("nsfw",), threshold=1.1)
    assert not never.check(picture("red")).blocked
    always = load(str(classifier), labels=("nsfw", "normal"), threshold=0.5)
    assert always.check(picture("blue")) == always.check(picture("blue"))
    assert always.check(picture("blue")).blocked
    assert always.check(picture("blue")).label == "normal"


def test_the_settings_say_whether_any_of_them_blocks_or_only_all(classifier: Path, tmp_path: Path) -> None:
    other_way = Path(shutil.copytree(classifier, tmp_path / "other"))
    config = json.loads((other_way / "config.json").read_text())
    names = {"id2label": {"0": "nsfw", "1": "normal"}, "label2id": {"nsfw": 0, "normal": 1}}
    (other_way / "config.json").write_text(json.dumps(config | names))
    for combine, blocked in (("any", True), ("all", False)):
        both = Checking.of([str(classifier), str(other_way)], Settings(safety_combine=combine))
        judged = both.check(picture("red"))
        assert ([each.blocked for each in judged.findings], judged.blocked) == ([True, False], blocked)


def test_a_label_that_the_classifier_lacks_is_refused(classifier: Path) -> None:
    with pytest.raises(WorkerFault, match="has no label 'gore'; known are normal, nsfw"):
        load(str(classifier), labels=("nsfw", "gore"), threshold=0.85)


def test_no_labels_are_refused(classifier: Path) -> None:
    with pytest.raises(WorkerFault, match="no label"):
        load(str(classifier), labels=(), threshold=0.85)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.float64), np.zeros((4, 4, 7), np.uint8)])
def test_what_cannot_be_checked_does_not_pass(classifier: Path, pixels: Any) -> None:
    checker = load(str(classifier), labels=("nsfw",), threshold=0.85)
    with pytest.raises(WorkerFault, match="A safety checker failed"):
        checker.check(pixels)


def test_one_that_answers_with_no_number_is_not_taken_into_service(classifier: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(classifier, tmp_path / "copy")
    model: Any = ViTForImageClassification.from_pretrained(copy)
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    model.save_pretrained(copy)
    with pytest.raises(WorkerFault, match="not a number"):
        load(str(copy))


def test_a_checker_is_called_by_its_place_and_its_weights(classifier: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(classifier, tmp_path / "copy"))
    here, there = load(str(classifier)).name, load(str(copy)).name
    assert here.partition("@")[0] == classifier.name
    assert here.partition("@")[2] == there.partition("@")[2]
    model: Any = ViTForImageClassification.from_pretrained(copy)
    torch.nn.init.constant_(model.classifier.bias, 0)
    model.save_pretrained(copy)
    assert load(str(copy)).name != there


def test_one_of_the_hub_is_called_by_its_commit_and_may_be_pinned(classifier: Path, tmp_path: Path) -> None:
    kept = tmp_path / "hub/models--own--checker"
    (kept / "refs").mkdir(parents=True)
    for name, commit in (("v2", "a" * 40), ("main", "b" * 40)):
        shutil.copytree(classifier, kept / "snapshots" / commit)
        (kept / "refs" / name).write_text(commit)
    program = """
from fluxfarm.errors import WorkerFault
from worker.pipelines import load_safety_checkers
for said in ("own/checker@v2", "own/checker", "own/checker@v3"):
    try:
        print(load_safety_checkers([said], labels=("nsfw",), threshold=0.85)[0].name)
    except WorkerFault as error:
        print("cannot be loaded" in str(error))
"""
    told = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run([sys.executable, "-c", program], env=told, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [f"own/checker@{'a' * 12}", f"own/checker@{'b' * 12}", "True"], ran.stdout


@pytest.mark.parametrize(
    "harm",
    [
        shutil.rmtree,
        lambda at: (at / "preprocessor_config.json").unlink(),
        lambda at: (at / "model.safetensors").write_bytes(b"half"),
        lambda at: (at / "config.json").write_text(
            (at / "config.json").read_text().replace('_layers": 1', '_layers": 2')
        ),
    ],
)
def test_a_wrong_classifier_is_one_sentence(classifier: Path, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    copy = shutil.copytree(classifier, tmp_path / "copy")
    harm(copy)
    with pytest.raises(WorkerFault, match=r"^The safety checker cannot be loaded") as failure:
        load(str(copy), labels=("nsfw",), threshold=0.85)
    assert "\n" not in str(failure.value)
