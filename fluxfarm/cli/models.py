"""`fluxfarm models`: what this farm serves."""

import json
from pathlib import Path

import click

from fluxfarm import inputs
from fluxfarm.catalog import load_catalog
from fluxfarm.cli.context import farm_settings
from fluxfarm.cli.model_pages import pages
from fluxfarm.cli.pull import pull


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the schema of each model's inputs.")
def models(context: click.Context, *, as_json: bool) -> None:
    """List the models that the settings serve, and where their weights come from."""
    if context.invoked_subcommand is not None:
        return
    found = load_catalog(farm_settings()).models.values()
    if as_json:
        described = [
            {
                "slug": model.slug,
                "title": model.title,
                "version": model.version,
                "weights": model.weights.location,
                "stand_in": model.weights.stand_in,
                "request_schema": inputs.schema(model),
            }
            for model in found
        ]
        click.echo(json.dumps(described, indent=2))
        return
    for model in found:
        stand_in = " (stand-in)" if model.weights.stand_in else ""
        click.echo(f"{model.slug}  {model.version}  {model.title}  weights: {model.weights.location}{stand_in}")


@models.command("pages")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def write_pages(directory: Path) -> None:
    """Write the pages of docs/models: a card, the fields and programs to paste for each model."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text)


models.add_command(pull)
