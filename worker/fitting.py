"""Brings the pictures that came with a prediction to the size that is drawn; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image, Resampling
from PIL.Image import new as new_picture

from fluxfarm import pictures
from fluxfarm.catalog import Model
from fluxfarm.errors import PredictionFailed
from fluxfarm.kinds import Kind
from fluxfarm.plans import Plan
from fluxfarm.sizes import Size, matching, render_size

PROPORTIONS = 0.02
"""How far a mask's may be from its picture's, as a share."""

Sent = Mapping[str, bytes]
"""Pictures as they came, by the names of their fields."""


@dataclass(frozen=True, slots=True)
class Source:
    """The picture whose size is followed, and what of it to draw anew."""

    picture: Image
    mask: Image | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """The pictures of a render order, and what of the source was cut away to make them, if anything was."""

    pictures: Mapping[str, Any] = field(default_factory=dict)
    crop: dict[str, int] | None = None


def source_of(model: Model, plan: Plan, sent: Sent) -> Source | None:
    """Read the picture whose size is followed; None where there is none.

    Raises:
        PredictionFailed: it, or its mask, cannot be read, or they do not go together.

    """
    name = "control_image" if model.kind is Kind.CONTROL else "image"
    if name not in sent:
        return None
    picture = read(name, sent, pictures.open_picture)
    mask = _mask(model, sent, Size(*picture.size))
    if model.kind is not Kind.FILL:
        return Source(picture, mask)
    return _canvas(plan, Source(picture, mask))


def fitted(model: Model, plan: Plan, sent: Sent, source: Source | None, size: Size) -> Fitted:
    """Cut every picture to `size`; but for one that is changed, which is seen whole whatever its proportions."""
    if source is None:
        likeness = {"likeness": read("redux_image", sent, pictures.open_picture)} if "redux_image" in sent else {}
        return Fitted(likeness)
    if model.kind is Kind.KONTEXT:
        own = drawn(model, matching(Size(*source.picture.size), plan.megapixels))
        before, crop = pictures.cover_and_crop(source.picture, own.width, own.height)
        return Fitted({"before": before}, crop)
    picture, crop = pictures.cover_and_crop(source.picture, size.width, size.height)
    if model.kind is Kind.CONTROL:
        return Fitted({"control": picture, "find": model.control if plan.preprocess_image else None}, crop)
    if source.mask is None:
        return Fitted({"image": picture}, crop)
    mask, _ = pictures.cover_and_crop(source.mask, size.width, size.height)
    return Fitted({"image": picture, "mask": mask}, crop)


def drawn(model: Model, target: Size) -> Size:
    """What these weights draw where the file shall have this size."""
    return render_size(target, model.weights.native_side) if model.weights.stand_in else target


def read(name: str, sent: Sent, opened: Any) -> Any:
    """Decode one; raises `PredictionFailed` that names its field."""
    try:
        return opened(sent[name])
    except pictures.UnreadablePicture as error:
        raise PredictionFailed("input_not_a_picture", f"{name}: {error}") from error


def _mask(model: Model, sent: Sent, size: Size) -> Image | None:
    if "mask" in sent:
        mask: Image = read("mask", sent, pictures.open_mask)
        shape = mask.width * size.height / (mask.height * size.width)
        if abs(shape - 1) > PROPORTIONS:
            message = f"mask: it is {mask.width} x {mask.height}, and image is {size}: their proportions must be alike."
            raise PredictionFailed("mask_mismatch", message)
        return mask.resize((size.width, size.height), Resampling.BILINEAR)
    transparent: Image | None = read("image", sent, pictures.open_transparency) if model.kind is Kind.FILL else None
    return transparent


def _canvas(plan: Plan, source: Source) -> Source:
    """The picture on what it is extended to, where all that is new is to be drawn."""
    size, at = _extent(plan, Size(*source.picture.size))
    if source.mask is None and size == Size(*source.picture.size):
        raise PredictionFailed("nothing_to_fill", _NOTHING)
    if max(size.width, size.height) > pictures.MAX_SIDE:
        message = f"image: it would be extended to {size}; its sides may have up to {pictures.MAX_SIDE} pixels."
        raise PredictionFailed("picture_too_large", message)
    picture = new_picture("RGB", (size.width, size.height), "gray")
    mask = new_picture("L", (size.width, size.height), 255)
    picture.paste(source.picture, at)
    mask.paste(source.mask or new_picture("L", source.picture.size, 0), at)
    return Source(picture, mask)


_NOTHING = (
    "There is nothing to paint: send a mask, or an image with transparent parts, or say with expand_left, "
    "expand_right, expand_top, expand_bottom or aspect_ratio where to go on."
)


def _extent(plan: Plan, size: Size) -> tuple[Size, tuple[int, int]]:
    """What the picture is extended to, and where it lies there."""
    if plan.width is None or plan.height is None:
        return plan.canvas(size), (plan.expand[0], plan.expand[2])
    ratio = plan.width / plan.height
    wide = Size(max(size.width, round(size.height * ratio)), max(size.height, round(size.width / ratio)))
    return wide, ((wide.width - size.width) // 2, (wide.height - size.height) // 2)
