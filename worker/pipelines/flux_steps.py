"""What diffusers calls after each denoising step: tells the watch of it, and shows it where the picture is going."""

from collections.abc import Callable
from typing import Any

import torch

from worker.pipelines import Pixels, Watch

Draw = Callable[[torch.Tensor], torch.Tensor]
"""From packed latents to levels of 8 bits, rows x columns x 3, on the device."""


class Steps:
    """Tells the watch of each step of one picture, at most one step before the device has done it."""

    def __init__(self, watch: Watch, picture: int, device: torch.device, draw: Draw) -> None:
        self._watch, self._picture, self._device, self._draw = watch, picture, device, draw
        self._done: torch.cuda.Event | None = None
        self._latents: torch.Tensor | None = None

    def __call__(self, pipe: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if self._device.type == "cuda":
            self._wait_for_step_before()
        self._watch.step(self._picture, index + 1, pipe.num_timesteps)
        before, self._latents = self._latents, tensors["latents"]
        if before is not None and self._watch.wants_preview():
            self._watch.preview(self._fetched(self._draw(_expected(pipe.scheduler, before, tensors["latents"]))))
        return {}

    def _wait_for_step_before(self) -> None:
        # Without it the host queues many steps ahead, and neither progress nor cancelling would mean anything.
        now = self._mark()
        if self._done is not None:
            self._done.synchronize()
        self._done = now

    def _fetched(self, levels: torch.Tensor) -> Callable[[], Pixels]:
        """Whoever calls what this returns waits for the device; this thread does not."""
        here = levels.to("cpu", non_blocking=True)
        arrived = self._mark() if self._device.type == "cuda" else None

        def pixels() -> Pixels:
            if arrived is not None:
                arrived.synchronize()
            found: Pixels = here.numpy()
            return found

        return pixels

    def _mark(self) -> torch.cuda.Event:
        mark = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        mark.record(torch.cuda.current_stream(self._device))
        return mark


def _expected(scheduler: Any, before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """Where a straight line through the last step leads: the picture as the model sees it now, without the noise."""
    at = scheduler.step_index
    left, reached = scheduler.sigmas[at - 1], scheduler.sigmas[at]
    expected: torch.Tensor = now + (now - before) * (reached / (left - reached))
    return expected
