"""`fluxfarm models`: what this farm serves."""

import json
import os

import click

from fluxfarm import inputs
from fluxfarm.catalog import load_catalog
from fluxfarm.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the schema of each model's inputs.")
def models(*, as_json: bool) -> None:
    """List the models that the settings serve, and where their weights come from."""
    found = load_catalog(Settings.from_environment(os.environ)).models.values()
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
