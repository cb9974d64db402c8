"""Encoded pictures: their pixels, their size on disk, and what they say of themselves."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from worker.images import SOFTWARE, SOURCE_TYPE, PictureMetadata, encode
from worker.pipelines import Pixels

METADATA = PictureMetadata.of(model="flux-dev", version="1.0-ab12", seed=41, prompt="a <red> & blue circle")
FORMATS = ["webp", "jpg", "png"]


def drawing(width: int = 96, height: int = 64) -> Pixels:
    image = Image.radial_gradient("L").resize((width, height))
    return np.asarray(Image.merge("RGB", (image, image.rotate(90), Image.effect_noise((width, height), 20))))


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def described(data: bytes) -> Any:
    """What the XMP packet says, as Pillow's own reader finds it."""
    return opened(data).getxmp()["xmpmeta"]["RDF"]["Description"]


@pytest.mark.parametrize(("output_format", "kind"), [("webp", "WEBP"), ("jpg", "JPEG"), ("png", "PNG")])
def test_each_format_holds_the_picture(output_format: str, kind: str) -> None:
    pixels = np.full((64, 96, 3), (200, 40, 90), np.uint8)
    image = opened(encode(pixels, output_format=output_format, quality=90, metadata=METADATA))
    assert (image.format, image.size, image.mode) == (kind, (96, 64), "RGB")
    assert np.abs(np.asarray(image).astype(int) - pixels).max() <= (0 if kind == "PNG" else 5)


@pytest.mark.parametrize("output_format", FORMATS)
def test_each_format_says_what_made_it(output_format: str) -> None:
    image = opened(encode(drawing(), output_format=output_format, quality=80, metadata=METADATA))
    xmp = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    assert SOURCE_TYPE.encode() in xmp
    if output_format == "png":
        said = f"{image.info['Software']} {image.info['Description']}"
    else:
        exif = image.getexif()
        said = f"{exif[ExifTags.Base.Software]} {exif[ExifTags.Base.ImageDescription]}"
    for word in (SOFTWARE, "AI generated", "flux-dev", "1.0-ab12", "seed 41", METADATA.prompt_sha256):
        assert word in said
    assert METADATA.prompt_sha256.encode() in xmp


@pytest.mark.parametrize("output_format", FORMATS)
def test_other_programs_read_that_a_model_drew_it_and_which(output_format: str) -> None:
    found = described(encode(drawing(), output_format=output_format, quality=80, metadata=METADATA))
    assert found["DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert (found["AISystemUsed"], found["AISystemVersionUsed"]) == ("flux-dev", "1.0-ab12")
    assert found["CreatorTool"] == SOFTWARE


@pytest.mark.parametrize("output_format", FORMATS)
def test_without_metadata_a_file_says_nothing(output_format: str) -> None:
    pixels = drawing()
    plain, full = (encode(pixels, output_format=output_format, quality=80, metadata=each) for each in (None, METADATA))
    image = opened(plain)
    assert (image.getxmp(), dict(image.getexif()), getattr(image, "text", {})) == ({}, {}, {})
    for word in (b"fluxfarm", b"http", b"xmp"):
        assert word not in plain
    assert np.array_equal(np.asarray(image), np.asarray(opened(full)))


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_prompt_is_not_in_the_file(output_format: str) -> None:
    data = encode(drawing(), output_format=output_format, quality=80, metadata=METADATA)
    assert b"circle" not in data


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_picture_is_the_same_bytes(output_format: str) -> None:
    pixels = drawing()
    first, second = (encode(pixels, output_format=output_format, quality=80, metadata=METADATA) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("output_format", ["webp", "jpg"])
def test_quality_decides_the_size_on_disk(output_format: str) -> None:
    pixels = drawing()
    sizes = [
        len(encode(pixels, output_format=output_format, quality=quality, metadata=METADATA))
        for quality in (0, 40, 80, 100)
    ]
    assert sizes == sorted(set(sizes))


def test_png_has_no_quality() -> None:
    pixels = drawing()
    files = {encode(pixels, output_format="png", quality=quality, metadata=METADATA) for quality in (0, 100)}
    assert len(files) == 1


@pytest.mark.parametrize("output_format", FORMATS)
def test_small_drawings_are_enlarged_to_the_wanted_size(output_format: str) -> None:
    data = encode(drawing(), output_format=output_format, quality=80, metadata=METADATA, size=(300, 200))
    assert opened(data).size == (300, 200)


@pytest.mark.parametrize("quality", [80, 94, 100])
def test_noise_at_any_quality_fits_the_jpeg_encoder(quality: int) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 1440, 3), np.uint8)
    assert opened(encode(noise, output_format="jpg", quality=quality, metadata=METADATA)).size == (1440, 256)
