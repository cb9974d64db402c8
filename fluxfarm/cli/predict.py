"""`fluxfarm predict`: create a prediction, follow it, save its pictures."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from fluxfarm import routing
from fluxfarm.catalog import load_catalog
from fluxfarm.cli.client import Client, client
from fluxfarm.cli.following import until_end
from fluxfarm.cli.transfer import picture_to_send, save_pictures
from fluxfarm.settings import Settings

FIELDS: Final = routing.schema(load_catalog(Settings()))["properties"]
PICTURES: Final = [name for name, field in FIELDS.items() if "anyOf" in field]


def _parsed(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    try:
        return None if value is None else json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"must be JSON: {error}") from error


def _kind(field: Mapping[str, Any]) -> dict[str, Any]:
    """How an option takes a field of this schema."""
    if field.get("type") == "array":
        return {"metavar": "JSON", "callback": _parsed}
    return {"is_flag": True} if field.get("type") == "boolean" and not field.get("default") else {"metavar": "VALUE"}


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option per input of any model, by the same name; also with dashes."""
    for name, field in reversed(FIELDS.items()):
        if name == "prompt":
            continue
        names = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
        command = click.option(*names, name, default=None, help=field.get("description"), **_kind(field))(command)
    return command


@click.command()
@click.argument("prompt", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to save the picture.")
@click.option("--model", help="Left out: whichever of the family the pictures ask for.")
@click.option("--again", metavar="ID", help="Make that prediction again, by its seed, but for what is said here.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished prediction as JSON.")
@input_options
def predict(
    prompt: str | None, output: Path | None, model: str | None, again: str | None, *, as_json: bool, **sent: Any
) -> None:
    """Draw PROMPT and save the pictures.

    Pictures are given as files as well as addresses. Several pictures are saved as NAME-1, NAME-2 and so on.
    """
    if output and not output.absolute().parent.is_dir():
        raise click.ClickException(f"There is no directory {output.absolute().parent}.")
    api = client()
    given = {name: value for name, value in sent.items() if value is not None}
    given |= {name: picture_to_send(given[name]) for name in PICTURES if name in given}
    given |= {name: _flag(given[name]) for name in given if FIELDS[name].get("type") == "boolean"}
    if prompt is not None:
        given["prompt"] = prompt
    if output and "output_format" not in given and output.suffix.lower() in (".webp", ".jpg", ".jpeg", ".png"):
        given["output_format"] = output.suffix[1:].lower()
    where, otherwise = (f"/v1/prediction/{again}/again", None) if again else ("/v1/prediction", "flux")
    asked = model or otherwise
    created = api.call("POST", where, json={**({"model": asked} if asked else {}), "input": given}).json()
    finished = _follow(api, created["predictionID"])
    if as_json:
        click.echo(json.dumps(finished, indent=2))
    if finished["status"] != "success":
        raise click.ClickException(finished["error"] or f"The prediction ended as {finished['status']}.")
    for path in save_pictures(finished["images"], output or Path(finished["id"][:8])):
        click.echo(path, err=as_json)
    for notice in finished["notices"]:
        click.echo(notice, err=True)


def _flag(said: Any) -> Any:
    return {"true": True, "false": False}.get(str(said).lower(), said)


def _follow(api: Client, prediction: str) -> dict[str, Any]:
    """Wait for its end, and show how far it is; Ctrl-C cancels it."""
    try:
        return until_end(api, prediction)
    except KeyboardInterrupt:
        api.call("POST", f"/v1/prediction/{prediction}/cancel")
        raise click.ClickException("Cancelled.") from None
    except click.ClickException as error:
        raise click.ClickException(f"{error.message} The prediction is {prediction}.") from None
