"""The plan of a prediction: everything a worker needs to render it, fixed at admission and stored beside its row."""

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from fluxfarm.catalog import Model
from fluxfarm.inputs import Order
from fluxfarm.safety_policy import Policy, Ruling
from fluxfarm.sizes import Size, render_size

SEED_SPACE = 2**32
NATIVE_PIXELS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """`image_key` is an object of ours, `image_url` somebody else's; without either it is text to image."""

    prompt: str
    seeds: tuple[int, ...]
    width: int | None
    """None, like `height`: the size follows the input picture."""
    height: int | None
    megapixels: str
    num_inference_steps: int
    guidance: float
    prompt_strength: float
    output_format: str
    output_quality: int
    check_safety: bool
    image_url: str | None = None
    image_key: str | None = None
    safety_policy: str = Policy.DEFAULT_ON
    safety_set_by: str = "deployment"
    safety_off_ignored: bool = False
    """Its owner asked for no check, in vain; see `fluxfarm.safety_policy.Ruling`."""
    test_outcome: str | None = None
    """What a client's program is tried on, instead of a picture: a code of failure, or `slow=` seconds before it."""

    @classmethod
    def of(cls, order: Order, *, image_key: str | None, ruling: Ruling, test_outcome: str | None = None) -> Self:
        """Fix what the order left open; the seeds of several pictures count up from the first."""
        first = secrets.randbelow(SEED_SPACE) if order.seed is None else order.seed
        return cls(
            prompt=order.prompt,
            seeds=tuple((first + i) % SEED_SPACE for i in range(order.num_outputs)),
            width=order.size.width if order.size else None,
            height=order.size.height if order.size else None,
            megapixels=order.megapixels,
            num_inference_steps=order.num_inference_steps,
            guidance=order.guidance,
            prompt_strength=order.prompt_strength,
            output_format=order.output_format,
            output_quality=order.output_quality,
            check_safety=ruling.checked,
            safety_policy=ruling.policy,
            safety_set_by=ruling.set_by,
            safety_off_ignored=ruling.ignored,
            image_url=order.image if isinstance(order.image, str) else None,
            image_key=image_key,
            test_outcome=test_outcome,
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**{**stored, "seeds": tuple(stored["seeds"])})

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def has_image(self) -> bool:
        return self.image_url is not None or self.image_key is not None

    def pixel_steps(self, model: Model) -> float:
        """How much work this is: pixels on the device times denoising steps, over all pictures."""
        steps = self.num_inference_steps * (self.prompt_strength if self.has_image else 1)
        return self.device_pixels(model) * max(1.0, steps) * len(self.seeds)

    def device_pixels(self, model: Model) -> float:
        if self.width is None or self.height is None:
            return NATIVE_PIXELS * float(self.megapixels) * (model.weights.native_side**2 / NATIVE_PIXELS)
        if not model.weights.stand_in:
            return self.width * self.height
        small = render_size(Size(self.width, self.height), model.weights.native_side)
        return small.width * small.height
