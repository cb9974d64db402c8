"""What a batch is asked for: the rows of a CSV or JSONL file as creates."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from fluxfarm.cli.transfer import picture_to_send


@dataclass(frozen=True, slots=True)
class Row:
    """One create; rows count from 1, a CSV's heading left out."""

    number: int
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return str(self.body["input"].get("prompt", ""))


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
    asked = {name: value for name, value in fields.items() if name not in ("model", "priority")}
    if isinstance(image := asked.get("image"), str):
        local = beside / image
        asked["image"] = picture_to_send(str(local) if local.is_file() else image)
    body = {"model": fields.get("model", model), "input": asked}
    if "priority" in fields:
        body["priority"] = fields["priority"]
    return Row(number, body)
