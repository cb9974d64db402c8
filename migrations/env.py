"""Alembic's entry: one migration at a time, whoever starts it, and never waiting long for a lock."""

import time

from alembic import context
from sqlalchemy import create_engine, text

from fluxfarm.tables import Table

PAUSE_SECONDS = 0.1
LOCK = 7_206_911_370_241_009


def run() -> None:
    engine = create_engine(context.config.attributes["url"])
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.execute(text("SET statement_timeout = '10min'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=Table.metadata, transaction_per_migration=True)
        # Waits without a limit: the other migration may take its time. It asks again and again, since an index that is
        # built while the farm runs waits for every statement, and so for one that would wait here.
        while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}).scalar_one():
            connection.commit()
            time.sleep(PAUSE_SECONDS)
        connection.commit()
        try:
            with context.begin_transaction():
                context.run_migrations()
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
            connection.commit()
    engine.dispose()


run()
