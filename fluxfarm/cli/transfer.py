"""Pictures between files and the API."""

import base64
import mimetypes
from pathlib import Path
from typing import Any

import click
import requests

SUFFIXES = {"image/webp": ".webp", "image/jpeg": ".jpg", "image/png": ".png"}


def picture_to_send(value: str) -> str:
    """A file as a data URI; what names no file is left for the API to judge."""
    path = Path(value)
    if value.startswith(("http://", "https://", "data:")) or not path.is_file():
        return value
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"


def save_pictures(images: list[dict[str, Any]], output: Path) -> list[Path]:
    """Save a finished prediction's pictures; several as NAME-1, NAME-2 and so on, each whole or not at all.

    Without a suffix, `output` gets that of the pictures' format.
    """
    paths = []
    for number, image in enumerate(images, 1):
        path = output if output.suffix else output.with_name(output.name + SUFFIXES[image["content_type"]])
        if len(images) > 1:
            path = path.with_stem(f"{path.stem}-{number}")
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(_read(image["url"]))
        draft.replace(path)
        paths.append(path)
    return paths


def _read(url: str) -> bytes:
    if url.startswith("data:"):
        return base64.b64decode(url.partition(",")[2])
    response = requests.get(url, timeout=60)
    if not response.ok:
        raise click.ClickException(f"The picture could not be read: {response.status_code} from its link.")
    return response.content
