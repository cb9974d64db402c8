"""Pictures from strangers: what is refused, and what the rest becomes."""

import io
import struct
import zlib
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from fluxfarm.pictures import UnreadablePicture, cover_and_crop, open_picture, probe


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def far(found: Any, expected: tuple[int, ...]) -> int:
    distances: list[int] = [abs(a - b) for a, b in zip(found, expected, strict=True)]
    return max(distances)


def near(found: Any, expected: tuple[int, ...]) -> bool:
    return far(found, expected) <= 5


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadablePicture) as of_opening:
        open_picture(data)
    return str(of_opening.value)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_size(width: int, height: int) -> bytes:
    """Headers of a large PNG with next to no pixels behind them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_three_formats_are_read(kind: str, media_type: str) -> None:
    data = encoded(Image.new("RGB", (40, 20), (200, 30, 90)), kind)
    opened = open_picture(data)
    assert probe(data) == (40, 20, media_type)
    assert (opened.mode, opened.size) == ("RGB", (40, 20))
    assert near(opened.getpixel((5, 5)), (200, 30, 90))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(kind: str) -> None:
    assert "not a PNG, JPEG or WebP" in refusal(encoded(Image.new("RGB", (40, 20)), kind))


@pytest.mark.parametrize("data", [b"", b"x", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert "not a PNG, JPEG or WebP" in refusal(data)
    with pytest.raises(UnreadablePicture):
        probe(data)


@pytest.mark.parametrize("size", [(4097, 16), (16, 4097), (4096, 4102), (13_300, 13_300), (60_000, 60_000)])
def test_large_pictures_are_refused_by_their_headers(size: tuple[int, int]) -> None:
    data = png_of_size(*size)
    assert "4096" in refusal(data)
    with pytest.raises(UnreadablePicture, match="4096"):
        probe(data)


def test_the_largest_picture_is_read() -> None:
    assert open_picture(encoded(Image.new("RGB", (4096, 4096)), "JPEG")).size == (4096, 4096)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    assert "3 frames" in refusal(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_the_first_picture_of_a_phones_jpeg_is_read() -> None:
    first, second = Image.new("RGB", (32, 16), "red"), Image.new("RGB", (16, 16), "blue")
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert probe(data) == (32, 16, "image/jpeg")
    assert near(open_picture(data).getpixel((5, 5)), (255, 0, 0))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_pictures_are_refused(kind: str) -> None:
    data = encoded(Image.effect_noise((64, 64), 80).convert("RGB"), kind)
    assert "broken" in refusal(data[: len(data) * 2 // 3])


def four_corners() -> Image.Image:
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (32, 0, 64, 32))
    image.paste("lime", (0, 16, 32, 32))
    return image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "size", "top_left", "bottom_left"),
    [
        (1, (64, 32), "red", "lime"),
        (2, (64, 32), "blue", "blue"),
        (3, (64, 32), "blue", "blue"),
        (4, (64, 32), "lime", "red"),
        (5, (32, 64), "red", "blue"),
        (6, (32, 64), "lime", "blue"),
        (7, (32, 64), "blue", "lime"),
        (8, (32, 64), "blue", "red"),
        (9, (64, 32), "red", "lime"),
    ],
)
def test_pictures_are_turned_upright(
    kind: str, orientation: int, size: tuple[int, int], top_left: str, bottom_left: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(four_corners(), kind, exif=exif, **({} if kind == "PNG" else {"quality": 100}))
    opened = open_picture(data)
    assert opened.size == probe(data)[:2] == size
    assert nearest(opened, (4, 4)) == top_left
    assert nearest(opened, (4, size[1] - 5)) == bottom_left


def nearest(image: Image.Image, place: tuple[int, int]) -> str:
    named = {"red": (255, 0, 0), "blue": (0, 0, 255), "lime": (0, 255, 0)}
    return min(named, key=lambda name: far(image.getpixel(place), named[name]))


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), {}),
        (Image.new("LA", (8, 8), (0, 0)), {}),
        (Image.new("RGB", (8, 8), "red").quantize(2), {"transparency": 0}),
        (Image.new("RGB", (8, 8), (1, 2, 3)), {"transparency": (1, 2, 3)}),
    ],
)
def test_what_is_transparent_becomes_white(image: Image.Image, options: dict[str, Any]) -> None:
    assert open_picture(encoded(image, **options)).getpixel((4, 4)) == (255, 255, 255)


def test_half_transparent_is_mixed_with_white() -> None:
    assert open_picture(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))).getpixel((4, 4)) == (127, 127, 127)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (8, 8), 100), "PNG", (100, 100, 100)),
        (Image.new("1", (8, 8), 1), "PNG", (255, 255, 255)),
        (Image.new("I;16", (8, 8), 100 * 257), "PNG", (100, 100, 100)),
        (Image.new("RGB", (8, 8), (250, 0, 0)).convert("P"), "PNG", (255, 0, 0)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
    ],
)
def test_other_colour_models_become_rgb(image: Image.Image, kind: str, expected: tuple[int, int, int]) -> None:
    opened = open_picture(encoded(image, kind))
    assert opened.mode == "RGB"
    assert near(opened.getpixel((4, 4)), expected)


def test_an_embedded_profile_is_applied() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red_for_blue = srgb.replace(b"rXYZ", b"tmp.").replace(b"bXYZ", b"rXYZ").replace(b"tmp.", b"bXYZ")
    image = Image.new("RGB", (8, 8), (100, 150, 200))
    assert open_picture(encoded(image, icc_profile=srgb)).getpixel((4, 4)) == (100, 150, 200)
    assert near(open_picture(encoded(image, icc_profile=red_for_blue)).getpixel((4, 4)), (200, 150, 100))


@pytest.mark.parametrize("kind", ["XYZ", "LAB"])
def test_a_profile_that_does_not_fit_is_left_aside(kind: Literal["XYZ", "LAB"]) -> None:
    image = Image.new("RGB", (8, 8), (100, 150, 200))
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()
    for profile in (other, b"broken"):
        assert open_picture(encoded(image, icc_profile=profile)).getpixel((4, 4)) == (100, 150, 200)


def test_no_metadata_come_through() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    assert not open_picture(encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif, comment=b"me")).info


def test_covering_crops_about_the_centre() -> None:
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    cut, kept = cover_and_crop(wide, 64, 64)
    assert cut.size == (64, 64)
    assert kept == {"left": 100, "top": 0, "right": 200, "bottom": 100}
    assert cut.getpixel((4, 4)) == cut.getpixel((59, 59)) == (0, 0, 255)


def test_nothing_is_cut_where_the_shape_is_the_same() -> None:
    scaled, kept = cover_and_crop(Image.new("RGB", (50, 25)), 640, 320)
    assert (scaled.size, kept) == ((640, 320), None)


@given(st.tuples(*[st.integers(1, 4096)] * 2), st.tuples(*[st.integers(16, 64)] * 2))
def test_any_picture_covers_any_shape_without_being_stretched(source: tuple[int, int], wanted: tuple[int, int]) -> None:
    cut, kept = cover_and_crop(Image.new("L", source), *wanted)
    left, top, right, bottom = (0, 0, *source) if kept is None else kept.values()
    assert cut.size == wanted
    assert 0 <= left < right <= source[0]
    assert 0 <= top < bottom <= source[1]
    assert left == 0 or top == 0
    # Cut to whole pixels, the shape that was kept is the wanted one to within a pixel and a half.
    kept_width, kept_height = right - left, bottom - top
    assert abs(kept_width - kept_height * wanted[0] / wanted[1]) <= 1.5 * max(1, wanted[0] / wanted[1])
