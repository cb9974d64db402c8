"""Encodes drawn pictures with Pillow, and writes into each what made it.

The metadata hold nothing of an id or a time: the same picture drawn twice is the same bytes.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import Any, Final, Self
from xml.sax.saxutils import escape, quoteattr

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from fluxfarm.pictures import cover_and_crop
from worker.pipelines import Pixels

MEDIA_TYPES = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}
SOFTWARE = "fluxfarm (AI generated)"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
FULL_COLOUR_QUALITY = 90
"""JPEG quality from which colours are stored as finely as brightness."""


@dataclass(frozen=True, slots=True)
class PictureMetadata:
    """What made a picture; the prompt only as a hash, for pictures are passed on to people who should not read it."""

    model: str
    version: str
    seed: int
    prompt_sha256: str

    @classmethod
    def of(cls, *, model: str, version: str, seed: int, prompt: str) -> Self:
        return cls(model, version, seed, hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest())

    def sentence(self) -> str:
        return (
            f"AI generated picture; model {self.model}, version {self.version}, seed {self.seed}, "
            f"prompt SHA-256 {self.prompt_sha256}"
        )


def encode(
    pixels: Pixels,
    *,
    output_format: str,
    quality: int,
    metadata: PictureMetadata | None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """One picture as a file; enlarged first where `size` differs from what was drawn.

    `output_format` is webp, jpg or png; `quality` is 0 to 100 and means nothing to png. Without metadata the file says
    nothing of where it comes from.
    """
    image = Image.fromarray(pixels)
    if size is not None and size != image.size:
        image, _ = cover_and_crop(image, *size)
    out = io.BytesIO()
    image.save(out, **_FORM[output_format](quality), **(_SAID[output_format](metadata) if metadata else {}))
    return out.getvalue()


def _webp(quality: int) -> dict[str, Any]:
    # Method 2 costs half the time of the default 4, for files a few percent larger.
    return {"format": "WEBP", "quality": quality, "method": 2}


def _jpg(quality: int) -> dict[str, Any]:
    # Neither progressive nor optimized: Pillow gives those one buffer, and noise at high quality does not fit it.
    subsampling = "4:4:4" if quality >= FULL_COLOUR_QUALITY else "4:2:0"
    return {"format": "JPEG", "quality": quality, "subsampling": subsampling}


def _png(_quality: int) -> dict[str, Any]:
    return {"format": "PNG", "compress_level": 4}


def _tags(metadata: PictureMetadata) -> dict[str, Any]:
    return {"exif": _exif(metadata), "xmp": _xmp(metadata)}


def _chunks(metadata: PictureMetadata) -> dict[str, Any]:
    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    info.add_text("Description", metadata.sentence())
    info.add_text("Model", f"{metadata.model} {metadata.version}")
    info.add_text("Seed", str(metadata.seed))
    info.add_text("Prompt SHA-256", metadata.prompt_sha256)
    info.add_itxt("XML:com.adobe.xmp", _xmp(metadata).decode())
    return {"pnginfo": info}


def _exif(metadata: PictureMetadata) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = SOFTWARE
    exif[ExifTags.Base.ImageDescription] = metadata.sentence()
    return exif.tobytes()


def _xmp(metadata: PictureMetadata) -> bytes:
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f" xmp:CreatorTool={quoteattr(SOFTWARE)} Iptc4xmpExt:DigitalSourceType={quoteattr(SOURCE_TYPE)}"
        f" Iptc4xmpExt:AISystemUsed={quoteattr(metadata.model)}"
        f" Iptc4xmpExt:AISystemVersionUsed={quoteattr(metadata.version)}>"
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(metadata.sentence())}</rdf:li></rdf:Alt>'
        "</dc:description></rdf:Description>"
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return packet.encode()


_FORM: Final = {"webp": _webp, "jpg": _jpg, "png": _png}
_SAID: Final = {"webp": _tags, "jpg": _tags, "png": _chunks}
