"""Every field of an input, declared once, and which of them a model of each kind takes."""

from typing import Final

from fluxfarm.catalog import Model
from fluxfarm.fields import Choice, Field, Flag, Number, OptionalText, Text, Whole
from fluxfarm.kinds import SOURCES, Control, Kind
from fluxfarm.lora_field import lora_fields
from fluxfarm.picture_field import Picture
from fluxfarm.size_fields import EXTENDED, size_fields

LONGEST_PROMPT: Final = 10_000
MOST_EXPANDED: Final = 2048

_PROMPT: Final = Field(
    "prompt",
    Text(longest=LONGEST_PROMPT),
    "What the picture shows, in words.",
    example="a lighthouse on a cliff at dusk, oil painting",
    required=True,
)
_INSTRUCTION: Final = Field(
    "prompt",
    Text(longest=LONGEST_PROMPT),
    "What to change in `image`, in words.",
    example="make the sky red",
    required=True,
)
_OPTIONAL_PROMPT: Final = Field(
    "prompt",
    OptionalText(longest=LONGEST_PROMPT),
    "What the picture shows beside what `redux_image` does, in words.",
    example="in autumn",
)
_NEGATIVE: Final = (
    Field(
        "negative_prompt",
        OptionalText(longest=LONGEST_PROMPT),
        "What the picture shall not show. Takes twice the time; blank, or left out: none.",
        example="text, watermark",
    ),
    Field(
        "true_cfg_scale",
        Number(1, 10),
        "How strongly `negative_prompt` counts. No effect without it, or at 1.",
        default=3.0,
    ),
)
_START: Final = (
    Field(
        "image",
        Picture(),
        "Picture to start from: an http(s) URL, or a data URI of a PNG, JPEG or WebP. Left out: text-to-image.",
        example="https://example.com/sketch.png",
    ),
    Field(
        "mask",
        Picture(),
        "What of `image` to paint anew: white; what is black is kept. As large as `image`, or in its proportions.",
        example="https://example.com/mask.png",
    ),
    Field(
        "prompt_strength",
        Number(0, 1),
        "How far to go from `image` towards the prompt; 1 keeps nothing of it. No effect without `image`.",
        default=0.8,
    ),
)
_REMIX: Final = (
    Field(
        "redux_image",
        Picture(),
        "Picture to make more of its kind from: an http(s) URL, or a data URI of a PNG, JPEG or WebP.",
        example="https://example.com/garden.png",
        required=True,
    ),
    Field(
        "redux_strength",
        Number(0, 1),
        "How much `redux_image` counts beside the prompt.",
        default=1.0,
    ),
)
_EDITED: Final = Field(
    "image",
    Picture(),
    "Picture to change: an http(s) URL, or a data URI of a PNG, JPEG or WebP.",
    example="https://example.com/portrait.png",
    required=True,
)
_FILLED: Final = (
    Field(
        "image",
        Picture(),
        "Picture to fill: an http(s) URL, or a data URI of a PNG, JPEG or WebP. Without `mask`, what is transparent in "
        "it is painted.",
        example="https://example.com/room.png",
        required=True,
    ),
    Field(
        "mask",
        Picture(),
        "What of `image` to paint: white; what is black is kept. As large as `image`, or in its proportions.",
        example="https://example.com/mask.png",
    ),
    *(
        Field(
            f"expand_{side}",
            Whole(0, MOST_EXPANDED),
            f"Pixels, as large as those of `image`, to paint beyond its {side} side.",
            default=0,
        )
        for side in ("left", "right", "top", "bottom")
    ),
)
_MAPS: Final = {Control.CANNY: "edges", Control.DEPTH: "depth"}
_SERIES: Final = (
    Field(
        "num_outputs",
        Whole(1, 4),
        "Pictures to make, each with a seed one higher than that of the one before.",
        default=1,
    ),
)
_RESULT: Final = (
    Field(
        "seed",
        Whole(0, 2**32 - 1),
        "The same seed and input give the same pictures. Left out: a random one, which the answer names.",
        example=42,
    ),
    Field(
        "output_format",
        Choice(("webp", "jpg", "png"), also={"jpeg": "jpg"}),
        "Format of the picture files.",
        default="webp",
    ),
    Field(
        "output_quality",
        Whole(0, 100),
        "Quality of WebP and JPEG files. No effect on PNG.",
        default=80,
    ),
    Field(
        "output_encoding",
        Choice(("url", "data_uri")),
        "How the answer carries the pictures: as links, or as data URIs.",
        default="url",
    ),
    Field(
        "disable_safety_checker",
        Flag(),
        "Skip the safety check of the pictures; needs a key that may.",
        default=False,
    ),
)


def fields_of(model: Model) -> tuple[Field, ...]:
    """The fields of a model, in the order in which they are shown."""
    size = EXTENDED if model.kind is Kind.FILL else size_fields(SOURCES[model.kind])
    return (*_subject(model), *size, *_SERIES, *_sampling(model), *lora_fields(model.loras), *_RESULT)


def _subject(model: Model) -> tuple[Field, ...]:
    if model.kind is Kind.CONTROL:
        return (_PROMPT, *_control(_MAPS[model.control or Control.CANNY], finds=model.finds_control))
    return {
        Kind.TEXT: (_PROMPT, *_NEGATIVE, *_START),
        Kind.FILL: (_PROMPT, *_FILLED),
        Kind.REDUX: (_OPTIONAL_PROMPT, *_REMIX),
        Kind.KONTEXT: (_INSTRUCTION, *_NEGATIVE, _EDITED),
    }[model.kind]


def _control(drawn: str, *, finds: bool) -> tuple[Field, ...]:
    shown = f"Whether to find the {drawn} of `control_image`; false where it shows them already, white on black."
    return (
        Field(
            "control_image",
            Picture(),
            f"Picture whose {drawn} to follow: an http(s) URL, or a data URI of a PNG, JPEG or WebP.",
            example="https://example.com/house.png",
            required=True,
        ),
        Field(
            "preprocess_image",
            Flag(),
            shown if finds else f"Must be false: with these weights `control_image` shows the {drawn}, white on black.",
            default=finds,
        ),
    )


def _sampling(model: Model) -> tuple[Field, ...]:
    steps = Field(
        "num_inference_steps",
        Whole(int(model.steps.minimum), int(model.steps.maximum)),
        "Denoising steps; more take longer and show more detail.",
        default=int(model.steps.default),
    )
    if model.guidance is None:
        return (steps,)
    guidance = Field(
        "guidance",
        Number(model.guidance.minimum, model.guidance.maximum),
        "How closely to follow the prompt.",
        default=float(model.guidance.default),
    )
    return steps, guidance
