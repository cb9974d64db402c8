"""`fluxfarm keys`: make, list and revoke the credentials of tenants."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import click

from fluxfarm import keys as api_keys
from fluxfarm import tenants
from fluxfarm.cli.context import farm_session


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.option("--name", required=True, help="What the key is for; shown in lists.")
@click.option("--tenant", default="default", show_default=True, help="Whose key it is; made if it is not there.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(api_keys.SCOPES), help="May be given several times."
)
@click.option("--creates-per-minute", default=60, show_default=True, type=click.IntRange(1))
@click.option("--reads-per-minute", default=600, show_default=True, type=click.IntRange(1))
@click.option("--max-active", default=10, show_default=True, type=click.IntRange(1), help="Predictions at once.")
@click.option("--expires-in-days", type=click.FloatRange(0, min_open=True), help="Without it the key does not expire.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def create(
    name: str,
    tenant: str,
    scopes: tuple[str, ...],
    expires_in_days: float | None,
    *,
    as_json: bool,
    **limits: int,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None
    with farm_session() as session:
        tenants.ensure(session, tenant)
        issued = api_keys.issue(
            session,
            tenant=tenant,
            name=name,
            scopes=scopes or api_keys.DEFAULT_SCOPES,
            limits=api_keys.KeyLimits(**limits),
            expires_at=expires_at,
        )
    click.echo(json.dumps(dataclasses.asdict(issued)) if as_json else issued.key)


@keys.command("list")
@click.option("--tenant", help="Only this tenant's keys.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List keys; secrets are not kept and cannot be shown."""
    with farm_session() as session:
        found = api_keys.every(session, tenant)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(key) for key in found], default=str))
        return
    for key in found:
        state = "revoked" if key.revoked_at else "live"
        limits = f"{key.limits.creates_per_minute}/min, {key.active}/{key.limits.max_active} active"
        click.echo(f"{key.id}  {state:7}  {key.tenant}  {key.name!r}  {limits}  {','.join(key.scopes)}")


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """End the key with this id; its running predictions finish."""
    with farm_session() as session:
        api_keys.revoke(session, key_id)
    click.echo(f"{key_id} is revoked")
