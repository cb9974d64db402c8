"""Which schema the code wants and which the database has; `fluxfarm migrate` brings the one to the other."""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


def head() -> str:
    """The newest migration; the file is tracked, so that two branches that add one collide in review."""
    return (MIGRATIONS / "head.txt").read_text().strip()


def current(session: Session) -> str | None:
    """The migration the database stands at; None for an empty one."""
    if session.execute(text("SELECT to_regclass('alembic_version') IS NULL")).scalar_one():
        return None
    return session.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
