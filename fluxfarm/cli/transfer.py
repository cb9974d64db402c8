"""Pictures between files and the API."""

import base64
import mimetypes
import os
from pathlib import Path
from typing import Any

import click
import requests

from fluxfarm.cli.client import TIMEOUT_SECONDS, patiently

SUFFIXES = {"image/webp": ".webp", "image/jpeg": ".jpg", "image/png": ".png"}


class PictureGone(click.ClickException):
    """The store has it no more."""


def picture_to_send(value: str) -> str:
    """A file as a data URI; what names no file is left for the API to judge."""
    path = picture_file(value)
    return value if path is None else data_uri(path)


def picture_file(value: str, beside: Path = Path()) -> Path | None:
    """The file that is named, in the directory `beside`; None for links, data URIs and what names no file."""
    path = beside / value
    if value.startswith(("http://", "https://", "data:")) or not os.path.isfile(path):  # noqa: PTH113 (any length)
        return None
    return path


def data_uri(path: Path) -> str:
    """A file as a data URI; raises `ClickException` if it cannot be read."""
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    try:
        return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None


def save_pictures(images: list[dict[str, Any]], output: Path) -> list[Path]:
    """Save a finished prediction's pictures; several as NAME-1, NAME-2 and so on, each whole or not at all.

    Without a suffix, `output` gets that of the pictures' format. What is withheld leaves its number out.

    Raises:
        PictureGone: one of them is not in the store any more.
        ClickException: one of them could not be read.

    """
    paths = []
    for number, image in enumerate(images, 1):
        if image["url"] is None:
            continue
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
    response = patiently(lambda: _asked(url))
    if response is not None and response.ok:
        return response.content
    says = "no answer" if response is None else str(response.status_code)
    gone = response is not None and response.status_code == requests.codes.not_found
    raise (PictureGone if gone else click.ClickException)(f"The picture could not be read: {says} from its link.")


def _asked(url: str) -> requests.Response | None:
    try:
        return requests.get(url, timeout=TIMEOUT_SECONDS)
    except requests.RequestException:
        return None
