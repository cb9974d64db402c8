"""`fluxfarm status`: workers, queues and predictions at this moment."""

import json

import click

from fluxfarm import lookup
from fluxfarm.cli.context import farm_session


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, as_json: bool) -> None:
    """Show live workers and what waits for them."""
    with farm_session() as session:
        workers, queues = lookup.workers(session), lookup.queues(session)
    if as_json:
        shown = {model: {"queued": queued, "processing": busy} for model, (queued, busy) in queues.items()}
        click.echo(json.dumps({"workers": workers, "queues": shown}, default=str, indent=2))
        return
    if not workers:
        click.echo("no live workers")
    for worker in workers:
        click.echo(
            f"worker  {worker['model']}  {worker['device']}  on {worker['host']} (process {worker['pid']}), "
            f"up {worker['up_seconds']:.0f} s"
        )
    for model, (queued, busy) in sorted(queues.items()):
        click.echo(f"queue   {model}  {queued} waiting, {busy} processing")
