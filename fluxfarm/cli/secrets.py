"""`fluxfarm secrets`: replace what the farm generated for itself."""

import os

import click

from fluxfarm import links
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.settings import Settings


@click.group()
def secrets() -> None:
    """Replace generated secrets."""


@secrets.command()
def rotate() -> None:
    """Give links a new secret, and the private servers new passwords, at the next start.

    Links that were signed before stay valid. Machines that joined the farm need a new join token from then on.
    """
    settings = Settings.from_environment(os.environ)
    links.rotate(settings)
    click.echo("links are signed with a new secret from the next start of the API on; older links stay valid")
    if settings.database_url is None and (postgres := PrivatePostgres(settings.data_dir)).has_data:
        postgres.wish_new_password()
        click.echo("the private PostgreSQL gets a new password at the next start, and join tokens end then")
    if settings.redis_url is None and (valkey := settings.data_dir / "valkey").exists():
        PrivateValkey(valkey).wish_new_password()
        click.echo("the private Valkey gets a new password at the next start")
