"""Runs the supervisor over parts described in JSON: `[{"name", "code", "wave", "grace"}, …]`, with short pauses."""

import json
import os
import sys

from fluxfarm.local import supervisor
from fluxfarm.local.lines import Lines
from fluxfarm.local.part import Part

supervisor.FIRST_PAUSE = 0.05
supervisor.LONGEST_PAUSE = 0.2


def part(name: str, code: str, *, wave: int = 0, grace: float = 2.0, vital: bool = True) -> Part:
    return Part(name, lambda: [sys.executable, "-u", "-c", code], os.environ, wave=wave, grace=grace, vital=vital)


if __name__ == "__main__":
    wanted = [part(**described) for described in json.loads(sys.argv[1])]
    try:
        with supervisor.Supervisor(Lines(sys.stdout.fileno(), width=8)) as running:
            for one in wanted:
                running.start(one)
            running.run()
    except supervisor.StopWished:
        sys.exit(0)
    except supervisor.GaveUp as gave_up:
        print(gave_up.message, flush=True)  # noqa: T201 - a script
        sys.exit(1)
