"""What every command shares: the settings, with the addresses of a running private farm filled in, and the database."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from fluxfarm.catalog import tried_out
from fluxfarm.database import Database
from fluxfarm.local.running import running
from fluxfarm.settings import Settings


def farm_settings() -> Settings:
    """The settings of the environment; those of the farm that runs here, where the environment gives none.

    Raises:
        SettingsError: a setting is wrong.

    """
    settings = Settings.from_environment(os.environ)
    found = running(settings.data_dir)
    if found is None:
        return settings
    return dataclasses.replace(
        tried_out(settings),
        database_url=settings.database_url or found.database_url,
        redis_url=settings.redis_url or found.redis_url,
        public_url=settings.public_url or found.url,
    )


@contextmanager
def farm_database() -> Iterator[Database]:
    """The farm's database, for as long as a command runs."""
    database = Database(farm_settings().require_database_url(), pool_size=1, application="fluxfarm command")
    try:
        yield database
    finally:
        database.close()


@contextmanager
def farm_session() -> Iterator[Session]:
    """One transaction on the farm's database."""
    with farm_database() as database, database.session_scope() as session:
        yield session
