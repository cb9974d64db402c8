"""`fluxfarm tenants`: who pays or shares the farm."""

from typing import Any

import click

from fluxfarm import audit as audit_log
from fluxfarm import tenants as registry
from fluxfarm.cli.context import farm_database, farm_session, farm_settings
from fluxfarm.cli.output import actor, as_json, show, table
from fluxfarm.cli.record_options import given, options
from fluxfarm.erasure import erase_tenant
from fluxfarm.storage import open_store

COLUMNS = ("name", "weight", "active", "max_active", "creates_per_minute", "models", "suspended_at", "contact")


@click.group()
def tenants() -> None:
    """Make, list, change, suspend and delete tenants."""


@tenants.command()
@click.argument("name")
@options(registry.FIELDS)
@as_json
def create(name: str, *, as_json: bool, **settings: Any) -> None:
    """Make a tenant; give it keys with `fluxfarm keys create --tenant NAME`."""
    with farm_session() as session:
        made = registry.create(session, name, given(settings), by=actor())
    show(made, as_json=as_json)


@tenants.command("list")
@as_json
def list_(*, as_json: bool) -> None:
    """List all tenants."""
    with farm_session() as session:
        found = registry.every(session)
    table(found, COLUMNS, as_json=as_json)


@tenants.command("show")
@click.argument("name")
@as_json
def show_(name: str, *, as_json: bool) -> None:
    """Show one tenant."""
    with farm_session() as session:
        found = registry.show(session, name)
    show(found, as_json=as_json)


@tenants.command("set")
@click.argument("name")
@options(registry.FIELDS)
@as_json
def set_(name: str, *, as_json: bool, **settings: Any) -> None:
    """Change a tenant's settings; `none` goes back to the default."""
    with farm_session() as session:
        changed = registry.change(session, name, given(settings), by=actor())
    show(changed, as_json=as_json)


@tenants.command()
@click.argument("name")
@as_json
def suspend(name: str, *, as_json: bool) -> None:
    """Refuse its creates and let its queued work wait; what renders finishes."""
    with farm_session() as session:
        changed = registry.suspend(session, name, by=actor())
    _hold_queued()
    show(changed, as_json=as_json)


@tenants.command()
@click.argument("name")
@as_json
def resume(name: str, *, as_json: bool) -> None:
    """Let it create again, and its queued work go on from its old place."""
    with farm_session() as session:
        changed = registry.resume(session, name, by=actor())
    _hold_queued()
    show(changed, as_json=as_json)


@tenants.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def delete(name: str, *, yes: bool, as_json: bool) -> None:
    """Erase a tenant: its keys, predictions, files and pictures."""
    if not yes:
        click.confirm(f"Erase {name} with all its keys, predictions and pictures?", abort=True, err=True)
    with farm_database() as database:
        erased = erase_tenant(database, open_store(farm_settings()), name, by=actor())
    show(erased, as_json=as_json)


@click.command()
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@as_json
def audit(limit: int, *, as_json: bool) -> None:
    """List the latest changes of tenants and keys: who, when, what."""
    with farm_session() as session:
        found = audit_log.recent(session, limit=limit)
    table(found, ("at", "actor", "action", "subject", "details"), as_json=as_json)


def _hold_queued() -> None:
    with farm_session() as session:
        registry.hold_queued(session)
