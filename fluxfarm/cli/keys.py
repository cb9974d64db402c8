"""`fluxfarm keys`: the credentials of tenants."""

from typing import Any

import click

from fluxfarm import keys as api_keys
from fluxfarm import tenants
from fluxfarm.cli.context import farm_session
from fluxfarm.cli.output import actor, as_json, show, table
from fluxfarm.cli.record_options import given, options

COLUMNS = ("id", "tenant", "name", "scopes", "creates_per_minute", "active", "max_active", "last_used_at", "revoked_at")
NAME, *SETTINGS = api_keys.FIELDS


@click.group()
def keys() -> None:
    """Make, list, change and revoke API keys."""


@keys.command()
@click.option("--name", required=True, help=NAME.description)
@click.option("--tenant", default="default", show_default=True, help="Whose key it is; made if it is not there.")
@options(SETTINGS)
@click.option("--expires-in-days", type=float, help=f"{api_keys.LIFETIME.description}")
@as_json
def create(name: str, tenant: str, expires_in_days: float | None, *, as_json: bool, **settings: Any) -> None:
    """Make a key and print it; it cannot be shown again."""
    with farm_session() as session:
        tenants.ensure(session, tenant, by=actor())
        sent = {"name": name, **given(settings)}
        issued = api_keys.issue(session, tenant=tenant, settings=sent, by=actor(), expires_in_days=expires_in_days)
    if as_json:
        show(issued, as_json=True)
    else:
        click.echo(issued.key)


@keys.command("list")
@click.option("--tenant", help="Only this tenant's keys.")
@as_json
def list_(tenant: str | None, *, as_json: bool) -> None:
    """List keys; secrets are not kept and cannot be shown."""
    with farm_session() as session:
        found = api_keys.every(session, tenant)
    table(found, COLUMNS, as_json=as_json)


@keys.command("show")
@click.argument("key_id")
@as_json
def show_(key_id: str, *, as_json: bool) -> None:
    """Show one key, without its secret."""
    with farm_session() as session:
        found = api_keys.show(session, key_id)
    show(found, as_json=as_json)


@keys.command("set")
@click.argument("key_id")
@options(api_keys.FIELDS)
@as_json
def set_(key_id: str, *, as_json: bool, **settings: Any) -> None:
    """Change a key's settings; `none` goes back to the default."""
    with farm_session() as session:
        changed = api_keys.change(session, key_id, given(settings), by=actor())
    show(changed, as_json=as_json)


@keys.command()
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(0, 24 * 365),
    help="Both keys live so long.",
)
@as_json
def rotate(key_id: str, overlap_hours: float, *, as_json: bool) -> None:
    """Make a second key like this one and print it; the old one ends after the overlap."""
    with farm_session() as session:
        issued = api_keys.rotate(session, key_id, overlap_seconds=round(overlap_hours * 3600), by=actor())
    if as_json:
        show(issued, as_json=True)
    else:
        click.echo(issued.key)


@keys.command()
@click.argument("key_id")
@as_json
def revoke(key_id: str, *, as_json: bool) -> None:
    """End a key; its running predictions finish."""
    with farm_session() as session:
        revoked = api_keys.revoke(session, key_id, by=actor())
    show(revoked, as_json=as_json)
