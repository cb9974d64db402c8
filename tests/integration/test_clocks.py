"""Only the database's clock counts: processes whose clocks are wrong by an hour change nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.keys import Caller
from fluxfarm.settings import Settings
from tests.api import ROOT, environment
from tests.farm import create

CLOCK = ROOT / "benchmarks" / "chaos" / "clock"
LEASE_SECONDS = 60
CODE = f"""
import os, time, uuid
from datetime import UTC, datetime
from fluxfarm import lifecycle, sweeps
from fluxfarm.catalog import load_catalog
from fluxfarm.database import Database
from fluxfarm.outcomes import Progress
from fluxfarm.settings import Settings

settings = Settings.from_environment(os.environ)
model = load_catalog(settings).model("flux-dev")
database = Database(settings.require_database_url(), pool_size=1)
with database.session_scope() as session:
    held = lifecycle.claim(
        session, model=model.slug, version=model.version, worker_id=uuid.uuid4(), lease_seconds={LEASE_SECONDS}
    )
with database.session_scope() as session:
    lifecycle.renew(session, held, Progress(), {LEASE_SECONDS})
with database.session_scope() as session:
    sweeps.expire(session, max_attempts=3)
print(time.time(), datetime.now(UTC).timestamp())
"""
NOW = text("SELECT extract(epoch FROM clock_timestamp())::float")
LEFT = text("SELECT extract(epoch FROM expires_at - clock_timestamp())::float FROM leases")


@pytest.mark.parametrize("offset", [-3600, 3600])
def test_a_lease_runs_by_the_databases_clock(
    database: Database, settings: Settings, caller: Caller, flux_dev: Model, offset: int
) -> None:
    create(database, caller, flux_dev)
    wrong = {**environment(settings), "PYTHONPATH": f"{CLOCK}:{ROOT}", "CHAOS_CLOCK": str(offset)}
    told = subprocess.check_output([sys.executable, "-c", CODE], env=wrong, cwd=Path("/"), text=True).split()
    with database.session_scope() as session:
        now, left = session.execute(NOW).scalar_one(), session.execute(LEFT).scalar_one()
    assert all(abs(float(time) - now - offset) < 1800 for time in told), "its clock is wrong indeed"
    assert 0 < left <= LEASE_SECONDS
