"""`fluxfarm moderation`: what was checked, what was found, and by whose policy."""

import click

from fluxfarm import moderation as log
from fluxfarm.cli.context import farm_session
from fluxfarm.cli.output import as_json, table
from fluxfarm.moderation import Checked
from fluxfarm.outcomes import Safety

COLUMNS = ("at", "tenant", "key_id", "prediction_id", "stage", "what", "verdict", "label", "score", "checker", "set_by")
COUNTED = ("model", "stage", "verdict", "withheld", "number")


@click.command()
@click.option("--verdict", type=click.Choice([word.value for word in Safety]), help="Only this verdict.")
@click.option(
    "--stage", type=click.Choice([word.value for word in Checked]), help="Only prompts, input pictures or outputs."
)
@click.option("--tenant", help="Only this tenant.")
@click.option("--key", "key_id", metavar="KEY_ID", help="Only this key.")
@click.option("--prediction", "prediction_id", type=click.UUID, help="Only this prediction.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000))
@click.option(
    "--counts", metavar="HOURS", type=click.FloatRange(0, min_open=True), help="Count those of the last hours instead."
)
@as_json
def moderation(*, limit: int, counts: float | None, as_json: bool, **wanted: object) -> None:
    """List the latest decisions of safety checks, newest first; the log holds no prompts and no pictures."""
    given = {field: value for field, value in wanted.items() if value is not None}
    with farm_session() as session:
        if counts is not None:
            table(log.counts(session, given, hours=counts), COUNTED, as_json=as_json)
            return
        found = log.recent(session, given, limit=limit)
    table(found, COLUMNS, as_json=as_json)
