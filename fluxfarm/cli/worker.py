"""`fluxfarm worker`: one worker of a farm that the environment names, or with `--join` this machine's devices."""

import os
import sys
from pathlib import Path

import click

from fluxfarm.cli.join import Wishes, join


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="SLUG",
    help="A model to serve; may be given again. With --join, several or all.",
)
@click.option(
    "--join", "token", metavar="TOKEN", help="Work for the farm whose `fluxfarm join-token` printed this; - reads it."
)
@click.option("--devices", help="With --join: all, cpu, or numbers such as 0,1.  [default: all]")
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --join: where the farm's directory of pictures is mounted here.  [default: the same path]",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --join: what this machine keeps.  [default: .fluxfarm]",
)
def worker(
    models: tuple[str, ...], token: str | None, devices: str | None, store: Path | None, data_dir: Path | None
) -> None:
    """Render predictions. Needs the `worker` extra.

    Alone, one process on one device, of the farm that FLUXFARM_DATABASE_URL and FLUXFARM_REDIS_URL name.
    """
    if token is not None:
        join(token, Wishes(models=models, devices=devices or "all", store=store, data_dir=data_dir))
        return
    if devices or store or data_dir:
        raise click.UsageError("--devices, --store and --data-dir go with --join")
    if not models:
        raise click.UsageError("name a --model, or a farm with --join")
    named = [word for model in models for word in ("--model", model)]
    os.execv(sys.executable, [sys.executable, "-m", "worker", *named])  # noqa: S606 (our own interpreter)
