"""`fluxfarm predict`: create a prediction, follow it, save its pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fluxfarm import inputs
from fluxfarm.catalog import load_catalog
from fluxfarm.cli.client import Client, client
from fluxfarm.cli.following import until_end
from fluxfarm.cli.transfer import picture_to_send, save_pictures
from fluxfarm.settings import Settings


def input_options(command: Callable[..., None]) -> Callable[..., None]:
    """An option per input of the API, by the same name; also with dashes."""
    schema = inputs.schema(load_catalog(Settings()).model("flux-dev"))
    for name, field in reversed(schema["properties"].items()):
        if name == "prompt":
            continue
        names = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
        kind: dict[str, Any] = {"is_flag": True} if field.get("type") == "boolean" else {"metavar": "VALUE"}
        command = click.option(*names, name, default=None, help=field.get("description"), **kind)(command)
    return command


@click.command()
@click.argument("prompt")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to save the picture.")
@click.option("--model", default="flux-dev", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the finished prediction as JSON.")
@input_options
def predict(prompt: str, output: Path | None, model: str, *, as_json: bool, **sent: Any) -> None:
    """Draw PROMPT and save the pictures.

    --image takes a file as well as an address. Several pictures are saved as NAME-1, NAME-2 and so on.
    """
    if output and not output.absolute().parent.is_dir():
        raise click.ClickException(f"There is no directory {output.absolute().parent}.")
    api = client()
    given = {name: value for name, value in sent.items() if value is not None}
    if "image" in given:
        given["image"] = picture_to_send(given["image"])
    if output and "output_format" not in given and output.suffix.lower() in (".webp", ".jpg", ".jpeg", ".png"):
        given["output_format"] = output.suffix[1:].lower()
    created = api.call("POST", "/v1/prediction", json={"model": model, "input": {"prompt": prompt, **given}}).json()
    finished = _follow(api, created["predictionID"])
    if as_json:
        click.echo(json.dumps(finished, indent=2))
    if finished["status"] != "success":
        raise click.ClickException(finished["error"] or f"The prediction ended as {finished['status']}.")
    for path in save_pictures(finished["images"], output or Path(finished["id"][:8])):
        click.echo(path, err=as_json)
    for notice in finished["notices"]:
        click.echo(notice, err=True)


def _follow(api: Client, prediction: str) -> dict[str, Any]:
    """Wait for its end, and show how far it is; Ctrl-C cancels it."""
    try:
        return until_end(api, prediction)
    except KeyboardInterrupt:
        api.call("POST", f"/v1/prediction/{prediction}/cancel")
        raise click.ClickException("Cancelled.") from None
    except click.ClickException as error:
        raise click.ClickException(f"{error.message} The prediction is {prediction}.") from None
