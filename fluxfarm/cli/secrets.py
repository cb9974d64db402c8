"""`fluxfarm secrets`: replace what the farm generated for itself."""

import os

import click

from fluxfarm import links
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.settings import Settings


@click.group()
def secrets() -> None:
    """Replace generated secrets."""


@secrets.command()
def rotate() -> None:
    """Give links a new secret, and the private PostgreSQL a new password, at the next start.

    Links that were signed before stay valid. The private Valkey has a new password at every start anyway.
    """
    settings = Settings.from_environment(os.environ)
    links.rotate(settings)
    click.echo("links are signed with a new secret from the next start of the API on; older links stay valid")
    if settings.database_url is None and (postgres := PrivatePostgres(settings.data_dir)).has_data:
        postgres.wish_new_password()
        click.echo("the private PostgreSQL gets a new password at the next start")
