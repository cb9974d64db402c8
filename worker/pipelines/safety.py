"""Safety checkers by location: a transformers image classifier here, or diffusers' checker by concepts.

They fail closed: whatever goes wrong is an error, never a pass.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from fluxfarm.errors import WorkerFault
from worker.pipelines import Checker, Pixels, Verdict, safety_concepts
from worker.pipelines.checker_files import named, refuse_gaps, whence
from worker.pipelines.faults import LOADING_ERRORS, checker_faults, first_line

transformers.utils.logging.disable_progress_bar()

GRAY = np.full((64, 64, 3), 128, np.uint8)


def load(locations: Sequence[str], *, labels: tuple[str, ...], threshold: float) -> list[Checker]:
    """Load all, and have each judge a gray picture."""
    wanted = {label.casefold() for label in labels}
    loaded = [_load(location, wanted, threshold) for location in locations]
    _refuse_unknown(wanted, [checker for checker in loaded if isinstance(checker, Classifier)])
    for checker in loaded:
        checker.check(GRAY)
    return loaded


def _load(said: str, labels: set[str], threshold: float) -> Checker:
    location, revision = whence(said)
    try:
        if safety_concepts.ARCHITECTURE in (_architectures(location, revision)):
            return safety_concepts.load(location, revision)
        processor = AutoImageProcessor.from_pretrained(location, revision=revision, backend="pil")
        model, report = AutoModelForImageClassification.from_pretrained(
            location, revision=revision, use_safetensors=True, output_loading_info=True
        )
        refuse_gaps(report)
    except LOADING_ERRORS as error:
        raise WorkerFault(f"The safety checker cannot be loaded from {said}: {first_line(error)}") from error
    return Classifier(model.eval(), processor, named(location, revision), labels, threshold)


def _architectures(location: str, revision: str) -> Sequence[str]:
    return AutoConfig.from_pretrained(location, revision=revision).architectures or ()


def _refuse_unknown(labels: set[str], classifiers: Sequence["Classifier"]) -> None:
    known = {label for classifier in classifiers for label in classifier.known}
    unknown = labels - {label.casefold() for label in known}
    idle = any(not classifier.blocking for classifier in classifiers)
    if classifiers and (unknown or idle):
        # A label that never comes would be a checker that never blocks.
        lacking = min(unknown or labels, default="")
        raise WorkerFault(f"A safety checker has no label {lacking!r}; known are {', '.join(sorted(known))}.")


class Classifier:
    """Runs on the CPU, beside the device's thread. A score is a probability."""

    def __init__(self, model: Any, processor: Any, name: str, labels: set[str], threshold: float) -> None:
        self._model, self._processor, self._threshold = model, processor, threshold
        self.name = name
        self.known: frozenset[str] = frozenset(model.config.id2label.values())
        self.blocking = {at: label for at, label in model.config.id2label.items() if label.casefold() in labels}

    def check(self, pixels: Pixels) -> Verdict:
        """Judge one picture; raises `WorkerFault` if no verdict was reached."""
        with checker_faults():
            scores = self._scores(pixels)
            if not all(math.isfinite(score) for score in scores):
                raise ValueError("it answered with something that is not a number")
        index = max(self.blocking, key=lambda each: scores[each])
        score = scores[index]
        return Verdict(self.blocking[index], score, self._threshold, blocked=score >= self._threshold)

    @torch.no_grad()
    def _scores(self, pixels: Pixels) -> list[float]:
        inputs = self._processor(Image.fromarray(pixels), return_tensors="pt")
        logits = self._model(**inputs).logits[0].float()
        several = self._model.config.problem_type == "multi_label_classification"
        scores: list[float] = (logits.sigmoid() if several else logits.softmax(dim=-1)).tolist()
        return scores
