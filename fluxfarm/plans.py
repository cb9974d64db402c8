"""The plan of a prediction: everything a worker needs to render it, fixed at admission and stored beside its row."""

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fluxfarm.catalog import Model
from fluxfarm.inputs import Order
from fluxfarm.kinds import Kind
from fluxfarm.loras import AskedLora
from fluxfarm.safety_policy import Policy, Ruling
from fluxfarm.sizes import OWN_AREA, Size, render_size
from fluxfarm.status import Status

SEED_SPACE = 2**32
NATIVE_PIXELS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What to render; pictures by the names of their fields, in `picture_keys` objects of ours."""

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
    picture_urls: Mapping[str, str] = field(default_factory=dict)
    picture_keys: Mapping[str, str] = field(default_factory=dict)
    negative_prompt: str | None = None
    true_cfg_scale: float = 1.0
    preprocess_image: bool = True
    redux_strength: float = 1.0
    expand: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Pixels of the picture to paint beyond its left, right, top and bottom side."""
    loras: tuple[AskedLora, ...] = ()
    safety_policy: str = Policy.DEFAULT_ON
    safety_set_by: str = "deployment"
    safety_off_ignored: bool = False
    """Its owner asked for no check, in vain; see `fluxfarm.safety_policy.Ruling`."""
    notices: tuple[str, ...] = ()
    """What its owner should know of what was asked for."""
    test_outcome: str | None = None
    """What a client's program is tried on, instead of a picture: a code of failure, or `slow=` seconds before it."""

    @classmethod
    def of(cls, order: Order, *, kept: Mapping[str, str], ruling: Ruling, test_outcome: str | None = None) -> Self:
        """Fix what the order left open; the seeds of several pictures count up from the first.

        `kept` are the object keys of pictures that came as data.
        """
        first = secrets.randbelow(SEED_SPACE) if order.seed is None else order.seed
        return cls(
            prompt=order.prompt or "",
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
            picture_urls={name: sent for name, sent in order.pictures.items() if isinstance(sent, str)},
            picture_keys=dict(kept),
            negative_prompt=order.negative_prompt,
            true_cfg_scale=order.true_cfg_scale,
            preprocess_image=order.preprocess_image,
            redux_strength=order.redux_strength,
            expand=order.expand,
            loras=order.loras,
            notices=order.notices,
            test_outcome=test_outcome,
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        tuples = {name: tuple(stored[name]) for name in ("seeds", "expand", "notices") if name in stored}
        loras = tuple(AskedLora.from_json(each) for each in stored.get("loras", ()))
        return cls(**{**stored, **tuples, "loras": loras})

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def needs_fetch(self) -> bool:
        """Whether there are pictures or LoRAs to bring in before the device can begin."""
        return bool(self.picture_names or self.loras)

    @property
    def picture_names(self) -> tuple[str, ...]:
        """The fields that pictures came in."""
        return (*self.picture_urls, *self.picture_keys)

    def shows(self, field: str, status: Status) -> bool:
        """Whether a picture that was sent may be read again: none before its verdict, and no checker looks at masks."""
        return not self.check_safety or (status is Status.SUCCEEDED and field != "mask")

    def canvas(self, source: Size) -> Size:
        """What is to be drawn on, of a picture of this size and what lies beyond its sides, in its pixels."""
        left, right, top, bottom = self.expand
        return Size(source.width + left + right, source.height + top + bottom)

    @property
    def guided_away(self) -> bool:
        """Whether each step is done twice, once for what the picture shall not show."""
        return self.negative_prompt is not None and self.true_cfg_scale > 1

    def pixel_steps(self, model: Model) -> float:
        """How much work this is: the pixels of a step times denoising steps, over all pictures."""
        partly = model.kind is Kind.TEXT and bool(self.picture_names)
        steps = self.num_inference_steps * (self.prompt_strength if partly else 1)
        passes = 2 if self.guided_away else 1
        each = model.step_pixels(self.device_pixels(model), self._megapixels)
        return each * max(1.0, steps) * passes * len(self.seeds)

    def device_pixels(self, model: Model) -> float:
        if self.width is None or self.height is None:
            return NATIVE_PIXELS * self._megapixels * (model.weights.native_side**2 / NATIVE_PIXELS)
        if not model.weights.stand_in:
            return self.width * self.height
        small = render_size(Size(self.width, self.height), model.weights.native_side)
        return small.width * small.height

    @property
    def _megapixels(self) -> float:
        """Of a picture that has not been looked at yet, one is expected."""
        return 1.0 if self.megapixels == OWN_AREA else float(self.megapixels)
