"""Opens pictures that strangers sent: within limits, upright, plain sRGB; and cuts them to a wanted shape.

Free of torch and numpy, for the API looks at pictures too.
"""

import io
import struct
import zlib
from typing import NamedTuple

from PIL import Image, ImageChops, ImageCms

MAX_SIDE = 4096
MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "WEBP": "image/webp"}
"""What is read. MPO is what Pillow calls a JPEG with further pictures behind the first, as many phones write it."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset({5, 6, 7, 8})

OPAQUE = 255

BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's readers raise when the bytes are not what they claim to be."""


class UnreadablePicture(ValueError):
    """The picture is refused; the message is one sentence for whoever sent it."""


class Probed(NamedTuple):
    width: int
    height: int
    media_type: str


def probe(data: bytes) -> Probed:
    """Size as it will stand upright, and media type, from the headers alone.

    Raises:
        UnreadablePicture: it is no picture of a kind that is taken, too large, or animated.

    """
    with _opened(data) as image:
        width, height = image.size
        if _orientation(image) in SIDEWAYS:
            width, height = height, width
        return Probed(width, height, MEDIA_TYPES[image.format or ""])


def open_picture(data: bytes) -> Image.Image:
    """Decode a picture to upright RGB in sRGB, on white where it was transparent, with no metadata left.

    Raises:
        UnreadablePicture: as `probe`, or its bytes are cut short or broken.

    """
    with _opened(data) as image:
        orientation = _orientation(image)
        try:
            image.load()
            plain = _on_white(image, image.info.get("icc_profile"))
        except (*BROKEN, MemoryError):
            raise UnreadablePicture("The picture is cut short or broken.") from None
    upright = plain.transpose(TURNS[orientation]) if orientation in TURNS else plain
    upright.info.clear()
    return upright


def open_mask(data: bytes) -> Image.Image:
    """Decode a picture to gray, upright; what was transparent is white. Raises `UnreadablePicture`."""
    return open_picture(data).convert("L")


def open_transparency(data: bytes) -> Image.Image | None:
    """Where a picture is transparent, as white, upright; None where it is nowhere. Raises `UnreadablePicture`."""
    with _opened(data) as image:
        orientation = _orientation(image)
        try:
            if not image.has_transparency_data:
                return None
            alpha = image.convert("RGBA").getchannel("A")
        except (*BROKEN, MemoryError):
            raise UnreadablePicture("The picture is cut short or broken.") from None
    upright = alpha.transpose(TURNS[orientation]) if orientation in TURNS else alpha
    return None if upright.getextrema()[0] == OPAQUE else ImageChops.invert(upright)


def cover_and_crop(image: Image.Image, width: int, height: int) -> tuple[Image.Image, dict[str, int] | None]:
    """Scale to cover width x height and crop about the centre; and what of the source was kept, if not all."""
    scale = max(width / image.width, height / image.height)
    kept_width, kept_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - kept_width) / 2, (image.height - kept_height) / 2
    box = (left, top, left + kept_width, top + kept_height)
    if image.size == (width, height):
        return image, None
    cropped = image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    left_edge, top_edge = int(left), int(top)
    kept = {
        "left": left_edge,
        "top": top_edge,
        "right": max(left_edge + 1, round(box[2])),
        "bottom": max(top_edge + 1, round(box[3])),
    }
    whole = {"left": 0, "top": 0, "right": image.width, "bottom": image.height}
    return cropped, None if kept == whole else kept


def _opened(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadablePicture(_too_large()) from None
    except BROKEN:
        raise UnreadablePicture("The picture is not a PNG, JPEG or WebP, or it is broken.") from None
    if max(image.size) > MAX_SIDE:
        raise UnreadablePicture(f"The picture is {image.width} x {image.height}. {_too_large()}")
    if frames > 1:
        raise UnreadablePicture(f"The picture is animated: it has {frames} frames, and only one is allowed.")
    return image


def _too_large() -> str:
    return f"A picture may have up to {MAX_SIDE} x {MAX_SIDE} pixels."


def _orientation(image: Image.Image) -> int:
    """Read before the pixels are: for a PNG without the tag in front, Pillow would decode it all to look behind."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except BROKEN:
        return 1
    return found if found in TURNS else 1


def _on_white(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image)
    if not image.has_transparency_data:
        return _in_srgb(_unindexed(image), profile)
    layered = image.convert("RGBA")
    colours = _in_srgb(layered.convert("RGB"), profile)
    white = Image.new("RGB", image.size, "white")
    white.paste(colours, mask=layered.getchannel("A"))
    return white


def _eight_bit(image: Image.Image) -> Image.Image:
    # convert("L") would clip everything above 255 to white.
    return image.convert("I").point(lambda level: level * (1 / 257)).convert("L")


def _unindexed(image: Image.Image) -> Image.Image:
    """In a mode that a colour profile can speak of: gray, CMYK or RGB."""
    if image.mode in ("L", "CMYK", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, *BROKEN):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
