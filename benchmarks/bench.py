"""`make bench`: fluxfarm with all its checks on, beside the least that Flask, Celery and Redis can do.

Both run on this machine at the same time and are measured in turns. Rates and times move with the machine, most of all
with how long its disk takes to make a write durable; what may be compared between machines are the ratios.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import device_overhead, machine, report
from benchmarks.contest import Contest, Extent
from benchmarks.rows import Queue
from benchmarks.servers import Servers

ROWS_TUNING = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "8GB"}
"""A million rows are filled in sooner where they need not last; what is measured beside them commits nothing."""

RENDER_SECONDS = 0.02
"""What a render pretends to take where the device's thread is looked at; far less than any real one."""


@dataclass(frozen=True, slots=True)
class Plan:
    contest: Extent
    queued: tuple[int, ...]
    """Numbers of queued rows beside which claims, admissions and places are measured."""
    times: int
    """How often each of those is."""


FULL = Plan(Extent(rounds=4, seconds=2.5, jobs=320, transactions=True), queued=(10_000, 1_000_000), times=300)
QUICK = Plan(Extent(rounds=2, seconds=1.0, jobs=160, transactions=False), queued=(10_000, 100_000), times=100)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute: rougher, and with fewer queued rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--directory", type=Path, help="where the servers keep their files meanwhile")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fluxfarm-bench-", dir=arguments.directory) as directory:
        found = measure(Path(directory), QUICK if arguments.quick else FULL)
    found["seconds"] = round(time.monotonic() - began)
    table = report.rows(found)
    if arguments.json:
        arguments.json.write_text(json.dumps({**found, "table": report.as_json(table)}, indent=2) + "\n")
    print(report.machine_text(found["machine"]))
    print(report.as_text(table))
    print(f"measured in {found['seconds']} s")


def measure(directory: Path, plan: Plan) -> dict[str, Any]:
    """Everything, as JSON."""
    found: dict[str, Any] = {"machine": machine.describe(directory), "plan": asdict(plan)}
    with Servers(directory) as servers:
        found |= Contest(servers, plan.contest, _tell).measure()
    with Servers(directory / "rows", tuning=ROWS_TUNING) as servers:
        found["queues"] = {str(queued): _queue(servers, queued, plan.times) for queued in plan.queued}
    _tell("the device's thread")
    device = device_overhead.measure(plan.times, side=128, seconds=RENDER_SECONDS)
    return {**found, "device": device}


def _queue(servers: Servers, queued: int, times: int) -> dict[str, Any]:
    _tell(f"beside {queued:,} queued predictions")
    return Queue(servers.new_database(f"queue_{queued}"), queued).measure(times)


def _tell(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
