"""What a batch is asked for: the rows of a CSV or JSONL file as creates."""

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from fluxfarm.cli.transfer import data_uri, picture_file


@dataclass(frozen=True, slots=True)
class Row:
    """One create; rows count from 1, a CSV's heading left out."""

    number: int
    asked: dict[str, Any]
    """As it is sent, but that a picture from a file is named by its SHA-256."""
    picture: Path | None = None
    """That file: of thousands, all at once would not fit."""

    @property
    def prompt(self) -> str:
        return str(self.asked["input"].get("prompt", ""))

    def body(self) -> dict[str, Any]:
        """What to send; raises `ClickException` if its picture cannot be read."""
        if self.picture is None:
            return self.asked
        return {**self.asked, "input": {**self.asked["input"], "image": data_uri(self.picture)}}


def rows(path: Path, model: str) -> list[Row]:
    """Read a file; `model` is for rows that name none.

    Raises:
        ClickException: it cannot be read; the line and what is wrong with it are named.

    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = list(_json_lines(file) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_lines(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from None
    except ValueError as error:
        raise click.ClickException(f"{path}, {error}") from None
    if not found:
        raise click.ClickException(f"{path} has no rows.")
    return [_row(number, fields, model, path.parent) for number, fields in enumerate(found, 1)]


def _json_lines(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise ValueError(f'line {number}: must be an object, such as {{"prompt": "a red circle"}}')  # noqa: TRY004
        yield fields


def _csv_lines(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(lines, strict=True)
    if "prompt" not in (reader.fieldnames or ()):
        raise ValueError("line 1: must name the columns, and one of them must be prompt")
    for fields in reader:
        if None in fields or None in fields.values():
            raise ValueError(f"line {reader.line_num}: must have as many cells as the heading")
        yield {name: value for name, value in fields.items() if value != ""}


def _row(number: int, fields: dict[str, Any], model: str, beside: Path) -> Row:
    """A file named as an input picture stands beside the batch's file."""
    sent = {name: value for name, value in fields.items() if name not in ("model", "priority")}
    image = sent.get("image")
    picture = picture_file(image, beside) if isinstance(image, str) else None
    if picture is not None:
        sent["image"] = _sha256(picture)
    asked = {"model": fields.get("model", model), "input": sent}
    if "priority" in fields:
        asked["priority"] = fields["priority"]
    return Row(number, asked, picture)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
