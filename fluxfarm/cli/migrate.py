"""`fluxfarm migrate`: bring the database's schema to the one this release wants."""

import click
from alembic import command
from alembic.config import Config

from fluxfarm import schema
from fluxfarm.cli.context import farm_settings


def alembic_config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["url"] = url
    return config


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="Schema version to go to.")
@click.option("--down", is_flag=True, help="Go back to an older version; drops what newer ones added.")
def migrate(revision: str, *, down: bool) -> None:
    """Bring the database's schema to this release's version."""
    config = alembic_config(farm_settings().require_database_url())
    (command.downgrade if down else command.upgrade)(config, revision)
    click.echo(f"schema is at {revision if revision != 'head' else schema.head()}", err=True)
