"""How commands print records: JSON for programs, a line of columns for people."""

import dataclasses
import getpass
import json
import socket
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def actor() -> str:
    """Who the audit names for a change made on this command line."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"command line@{socket.gethostname()}"


def show(record: Any, *, as_json: bool) -> None:
    """One record: its fields, a line each."""
    fields = dataclasses.asdict(record)
    if as_json:
        click.echo(json.dumps(fields, default=str))
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {_written(value)}")


def table(records: Sequence[Any], columns: Sequence[str], *, as_json: bool) -> None:
    """Several records: chosen columns for a person, everything as JSON."""
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(record) for record in records], default=str))
        return
    rows = [columns, *([_written(getattr(record, name)) for name in columns] for record in records)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    for row in rows:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _written(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
