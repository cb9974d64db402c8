"""`fluxfarm settings`: every setting, what it means, and what is in force."""

import dataclasses
import os
from typing import Any

import click

from fluxfarm.settings import PREFIX, Settings

PAGE_HEAD = """# Settings

Read from the environment, once, when a process starts. Made by `make docs` from `fluxfarm/settings.py`.
`fluxfarm settings` prints what is in force.

| variable | default | what it means |
| --- | --- | --- |"""


@click.command()
@click.option("--markdown", is_flag=True, help="Print the page docs/settings.md.")
def settings(*, markdown: bool) -> None:
    """List every setting and its value in force; secrets are not shown."""
    if markdown:
        click.echo(page())
        return
    in_force = Settings.from_environment(os.environ)
    for field in dataclasses.fields(Settings):
        value = getattr(in_force, field.name)
        hidden = "(set)" if field.metadata["secret"] and value else _written(value)
        click.echo(f"{PREFIX}{field.name.upper()}={hidden}\n    {field.metadata['description']}")


def page() -> str:
    """The text of docs/settings.md."""
    rows = [
        f"| `{PREFIX}{field.name.upper()}` | {f'`{shown}`' if (shown := _written(field.default)) else ''} "
        f"| {field.metadata['description'].replace('|', chr(92) + '|')} |"
        for field in dataclasses.fields(Settings)
    ]
    return "\n".join([PAGE_HEAD, *rows])


def _written(value: Any) -> str:
    """A value as it would stand in the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join("=".join(each) if isinstance(each, tuple) else str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
