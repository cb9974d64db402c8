"""Previews, drawn, checked and told on a thread of their own, so that the device's thread waits for none of it.

They are made while somebody follows the prediction, and no faster than this thread can make them. A preview is an
output: where pictures are checked, none is told that the same checker has not passed, and nothing more of a picture
that it stopped once.
"""

import base64
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fluxfarm.lifecycle import Claimed
from fluxfarm.outcomes import Progress
from fluxfarm.previews import Preview, Previews
from worker import images
from worker.checking import Check
from worker.images import PictureMetadata
from worker.pipelines import Pixels

log = logging.getLogger("fluxfarm")

REST_SECONDS = 0.3
LOOK_SECONDS = 0.5
"""Between two looks whether somebody follows."""
LONGEST_SIDE = 256
QUALITY = 60


@dataclass(frozen=True, slots=True)
class Offer:
    """What was drawn after a step, to be fetched from the device."""

    claimed: Claimed
    progress: Progress
    draw: Callable[[], Pixels]

    @property
    def picture(self) -> tuple[uuid.UUID, int]:
        return self.claimed.claim_id, self.progress.picture


class Previewer:
    """A worker has one; what the device's thread asks is answered from plain attributes."""

    def __init__(self, previews: Previews, check: Check | None, *, metadata: bool = True) -> None:
        self._previews = previews
        self._check = check
        self._metadata = metadata
        self._some = threading.Event()
        self._present: Claimed | None = None
        self._look_at = self._rest_until = 0.0
        self._asked: Claimed | None = None
        self._offer: Offer | None = None
        self._followed: Claimed | None = None
        self._stopped: tuple[uuid.UUID, int] | None = None
        """A picture of which nothing more is told."""
        threading.Thread(target=self._run, name="previews", daemon=True).start()

    def wanted(self, claimed: Claimed) -> bool:
        """Whether somebody follows it, as far as is known, and the last preview is told; has that looked after."""
        now = time.monotonic()
        if claimed is not self._present or now >= self._look_at:
            self._present, self._look_at, self._asked = claimed, now + LOOK_SECONDS, claimed
            self._some.set()
        return self._followed is claimed and self._offer is None and now >= self._rest_until

    def offer(self, claimed: Claimed, progress: Progress, draw: Callable[[], Pixels]) -> None:
        """Take over what was drawn for one that is `wanted`; returns at once."""
        self._rest_until = time.monotonic() + REST_SECONDS
        self._offer = Offer(claimed, progress, draw)
        self._some.set()

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            self._look()
            if (offer := self._offer) is not None:
                self._tell_or_stop(offer)
                self._offer = None

    def _look(self) -> None:
        if (asked := self._asked) is not None:
            self._asked = None
            self._followed = asked if self._previews.wished(asked.id) else None

    def _tell_or_stop(self, offer: Offer) -> None:
        if offer.picture == self._stopped:
            return
        try:
            passed = self._told(offer)
        except Exception:
            log.exception("a preview could not be made", extra={"fields": {"prediction": offer.claimed.id}})
            passed = False
        if not passed:
            self._stopped = offer.picture

    def _told(self, offer: Offer) -> bool:
        claimed, pixels = offer.claimed, _small(offer.draw())
        if claimed.plan.check_safety and self._check is not None and self._check(pixels).blocked:
            return False
        self._previews.tell(claimed.id, claimed.key_id, self._preview(offer, pixels))
        return True

    def _preview(self, offer: Offer, pixels: Pixels) -> Preview:
        held, at = offer.claimed, offer.progress
        seed, prompt = held.plan.seeds[at.picture - 1], held.plan.prompt
        metadata = PictureMetadata.of(model=held.model, version=held.version, seed=seed, prompt=prompt)
        data = images.encode(
            pixels, output_format="webp", quality=QUALITY, metadata=metadata if self._metadata else None
        )
        height, width = pixels.shape[:2]
        return Preview(held.attempt, at.picture, at.step, at.steps, width, height, base64.b64encode(data).decode())


def _small(pixels: Pixels) -> Pixels:
    if max(pixels.shape) <= LONGEST_SIDE:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(image)
