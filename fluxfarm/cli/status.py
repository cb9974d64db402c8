"""`fluxfarm status`: machines, workers, queues and speed at this moment."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from itertools import groupby

import click

from fluxfarm import farm_status
from fluxfarm.cli.context import farm_session
from fluxfarm.farm_status import QueueLine, WorkerLine

MINUTE, HOUR, DAY = 60, 3600, 86400


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, as_json: bool) -> None:
    """Show each machine's workers and when they were last heard of, what waits for them, and how fast they are."""
    with farm_session() as session:
        workers, queues = farm_status.workers(session), farm_status.queues(session)
    if as_json:
        shown = {
            "workers": [{**dataclasses.asdict(worker), "live": worker.live} for worker in workers],
            "queues": {queue.model: dataclasses.asdict(queue) for queue in queues},
        }
        click.echo(json.dumps(shown, indent=2))
        return
    for line in (*_machines(workers), *_queues(queues)):
        click.echo(line)


def _machines(workers: Sequence[WorkerLine]) -> Iterator[str]:
    if not workers:
        yield "no workers"
    for host, group in groupby(workers, key=lambda worker: worker.host):
        here = list(group)
        ready = sum(worker.live and not worker.loading for worker in here)
        yield f"machine {host}: {ready} of {len(here)} workers live"
        for worker in here:
            heard = f"heard of {worker.silent_seconds:.0f} s ago" + ("" if worker.live else ", silent")
            at = "loading" if worker.loading else worker.device
            yield f"  {at}  {worker.model}  process {worker.pid}, up {_duration(worker.up_seconds)}, {heard}"


def _queues(queues: Sequence[QueueLine]) -> Iterator[str]:
    for queue in queues:
        line = f"queue {queue.model}: {queue.queued} waiting, {queue.processing} processing"
        if queue.microseconds_per_megapixel_step is not None:
            line += f", {queue.microseconds_per_megapixel_step:,.0f} µs per megapixel and step"
        least = "at least " if queue.at_least else ""
        yield f"{line}, {least}{queue.pictures_per_minute:.1f} pictures per minute in the last 10 minutes"


def _duration(seconds: float) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
