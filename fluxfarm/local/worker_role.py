"""Whom the private PostgreSQL lets in from other machines: a role that works on the farm's rows and owns nothing.

The superuser, who could run programs on this machine, never gets in from outside, whatever passwords are known.
"""

import psycopg
from psycopg.sql import SQL, Identifier, Literal

ROLE = "fluxfarm_worker"
RULES = f"""\
host all all 127.0.0.1/32 scram-sha-256
host fluxfarm {ROLE} all scram-sha-256
"""
"""What `pg_hba.conf` says while it is shared."""

MAKE = SQL("""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN CREATE ROLE {role}; END IF;
END $$
""")
ALLOW = (
    "ALTER ROLE {role} LOGIN NOSUPERUSER PASSWORD {password}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
)


def let_workers_in(connection: psycopg.Connection[tuple[object, ...]], password: str) -> None:
    """Make the role, or give the one that is there this password; tables of later migrations are open to it too."""
    role = Identifier(ROLE)
    connection.execute(MAKE.format(name=Literal(ROLE), role=role))
    for statement in ALLOW:
        connection.execute(SQL(statement).format(role=role, password=Literal(password)))
