"""`python -m benchmarks.chaos --seed 7 --minutes 30`: break a farm by a seeded schedule, and count what was lost."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from benchmarks.chaos.farm import Size
from benchmarks.chaos.report import Report
from benchmarks.chaos.run import Plan, named, run
from benchmarks.chaos.schedule import ALL


def main() -> None:
    options = arguments()
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", stream=sys.stderr)
    for noisy in ("alembic", "urllib3", "fluxfarm"):
        logging.getLogger(noisy).setLevel("ERROR")
    plan = Plan(
        seed=options.seed,
        seconds=options.minutes * 60,
        faults=options.faults,
        predictions=options.predictions,
        kinds=() if options.none else named(options.kinds),
        clients=options.clients,
        size=Size(workers=options.workers, lease_seconds=options.lease, durable=not options.fast_disk),
    )
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        report = run(plan, options.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as directory:
            report = run(plan, Path(directory))
    tell(report, options.json)
    sys.exit(0 if report.well else 1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="what the schedule is drawn from")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long faults are inflicted")
    parser.add_argument("--faults", type=int, default=0, help="or how many")
    parser.add_argument("--predictions", type=int, default=0, help="go on until so many were taken")
    parser.add_argument("--kinds", nargs="*", default=[], help=f"words in the names of kinds: {', '.join(ALL)}")
    parser.add_argument("--none", action="store_true", help="no faults at all")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--lease", type=float, default=3.0, help="seconds; every bound scales with it")
    parser.add_argument("--fast-disk", action="store_true", help="let PostgreSQL not wait for the disk")
    parser.add_argument("--json", type=Path, help="where to write the whole report")
    parser.add_argument("--keep", type=Path, help="a directory for all logs and data, which is kept")
    return parser.parse_args()


def tell(report: Report, path: Path | None) -> None:
    if path:
        path.write_text(report.to_json() + "\n")
    print(report)


if __name__ == "__main__":
    main()
