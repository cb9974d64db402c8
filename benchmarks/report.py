"""What was measured beside what is aimed at, as rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEADER = ("measured", "fluxfarm", "bare service", "ratio", "aim", "holds")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `holds` is None where nothing is aimed at."""

    what: str
    fluxfarm: str
    bare: str = ""
    ratio: str = ""
    aim: str = ""
    holds: bool | None = None

    def cells(self) -> tuple[str, ...]:
        holds = {None: "", True: "yes", False: "NO"}[self.holds]
        return (self.what, self.fluxfarm, self.bare, self.ratio, self.aim, holds)


def rows(found: Mapping[str, Any]) -> list[Row]:
    """The table, from the JSON of `bench.measure`."""
    return [*_rates(found), *_latencies(found), *_work(found), *_memory(found), *_queue(found["queues"])]


def machine_text(found: Mapping[str, Any]) -> str:
    """One line of what the figures were made on."""
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gib']} GiB, Linux {found['kernel']}, "
        f"Python {found['python']}, {versions}; load {found['load_average_before']} before; "
        f"a durable 8 kB write takes {found['fdatasync_ms']} ms (pg_test_fsync)"
    )


def as_json(table: Sequence[Row]) -> list[dict[str, Any]]:
    return [asdict(row) for row in table]


def as_text(table: Sequence[Row]) -> str:
    """A Markdown table whose columns line up."""
    lines = [HEADER, *(row.cells() for row in table)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([written[0], rule, *written[1:]])


def _rates(found: Mapping[str, Any]) -> list[Row]:
    return [
        _rate("creates/s, 16 clients", found["creates"], at_least=0.5),
        _rate("reads/s of one that has ended, 16 clients", found["reads_ended"], at_least=0.8),
        _rate("reads/s of one that waits, 16 clients", found["reads_waiting"], at_least=0.8),
        _rate("jobs/s, create to result, 16 clients", found["jobs"]),
    ]


def _rate(what: str, pair: Mapping[str, Any], at_least: float | None = None) -> Row:
    ratio = pair["ratio"]
    aim = f"≥ {at_least} x" if at_least else ""
    holds = ratio >= at_least if at_least else None
    return Row(what, f"{pair['fluxfarm']:,.0f}", f"{pair['bare']:,.0f}", f"{ratio:.2f} x", aim, holds)


def _latencies(found: Mapping[str, Any]) -> list[Row]:
    return [
        _latency("create → result, 1 client", found["result_1"], at_most=1.5),
        _latency("create → result, 16 clients", found["result_16"]),
        _latency("create → result, 1 client, durable commits", found["result_1_durable"]),
    ]


def _latency(what: str, pair: Mapping[str, Any], at_most: float | None = None) -> Row:
    ratio = pair["ratio"]
    aim = f"p50 ≤ {at_most} x" if at_most else ""
    ours, theirs = _cost(pair["fluxfarm"]), _cost(pair["bare"])
    return Row(what, ours, theirs, f"{ratio:.2f} x", aim, ratio <= at_most if at_most else None)


def _work(found: Mapping[str, Any]) -> list[Row]:
    commits, device = found["commits_per_job"], found["device"]["median milliseconds"]
    made = [
        Row("commits that write, per job", f"{commits:.2f}", "0", "", "≤ 3", round(commits, 1) <= 3),
        Row("device's thread outside the model, per job", f"{device:.2f} ms", "", "", "≤ 5 ms", device <= 5),
    ]
    if (every := found["transactions_per_job"]) is not None:
        made.append(Row("transactions per job, those of idle threads and all included", f"{every:.2f}", "0"))
    return made


def _memory(found: Mapping[str, Any]) -> list[Row]:
    def megabytes(resident: float | None) -> str:
        return f"{resident:.0f} MB" if resident else ""

    return [
        Row(f"memory of a process: {kind}", megabytes(ours), megabytes(theirs))
        for kind, (ours, theirs) in found["rss_mb"].items()
    ]


def _queue(queues: Mapping[str, Any]) -> list[Row]:
    """At each number of queued rows; the claim in SQL against its aims."""
    sizes = list(queues)
    small, large = queues[sizes[0]]["claim_sql"], queues[sizes[-1]]["claim_sql"]
    growth = large["p50"] / small["p50"]
    claims = [
        Row(
            f"claim beside {int(sizes[-1]):,} queued, in SQL", _cost(large), "", "", "p50 ≤ 0.5 ms", large["p50"] <= 0.5
        ),
        Row(
            f"claim beside {int(sizes[0]):,} queued, in SQL", _cost(small), "", f"{growth:.2f} x", "≤ 2 x", growth <= 2
        ),
    ]
    names = {
        "claim": "claim as the worker calls it",
        "admission": "admission",
        "line": "a look at the whole queue, one a second",
        "place": "read with place in the queue",
    }
    others = [
        Row(f"{title} beside {int(size):,} queued", _cost(queues[size][name]))
        for name, title in names.items()
        for size in sizes
    ]
    return [*claims, *others]


def _cost(cost: Mapping[str, float]) -> str:
    return f"p50 {cost['p50']:.2f} ms, p99 {cost['p99']:.2f} ms"
