"""`python -m benchmarks.cancels`: how many steps a device goes on after its prediction was cancelled.

A worker at the pace of FLUX.1 [dev] on a large card; each render is cancelled at some moment, and its events are
followed to the end.
"""

import argparse
import dataclasses
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import paced
from benchmarks.eta import Client, start
from benchmarks.servers import Servers

STEPS = 28
AIM = 1


@dataclass(frozen=True, slots=True)
class Cancelled:
    """One render that was stopped."""

    steps: int
    """Begun after the wish was sent."""
    seconds: float
    """From when the wish was sent to the end of the prediction."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cancels", description=__doc__)
    parser.add_argument("--cancels", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="fluxfarm-cancels-") as directory, Servers(Path(directory)) as servers:
        catalogue = Path(directory) / "paced.toml"
        catalogue.write_text(paced.CATALOGUE)
        client = start(servers, dataclasses.replace(servers.settings(), catalog=catalogue, models=(paced.SLUG,)))[0]
        found = [cancelled(client, chance.randint(1, 6), chance.random()) for _ in range(options.cancels)]
    worst, steps = max(each.steps for each in found), statistics.mean(each.steps for each in found)
    seconds = sorted(each.seconds for each in found)
    print(f"{len(found)} renders cancelled: {steps:.2f} steps begun after the wish, at most {worst} (aim: {AIM})")
    print(f"ended after p50 {seconds[len(seconds) // 2]:.3f} s, at most {seconds[-1]:.3f} s, of steps of 0.16 s")
    sys.exit(0 if worst <= AIM else 1)


def cancelled(client: Client, after: int, part: float) -> Cancelled:
    """Cancel a render so many steps, and this part of one, after its begin."""
    prediction = client.create(paced.SLUG, {"prompt": "nothing", "num_inference_steps": STEPS})
    told, wished = 0, 0.0
    for name in client.events(prediction):
        told += name == "progress"
        if name == "progress" and told == after:
            time.sleep(part * paced.STEP_SECONDS)
            wished = time.monotonic()
            client.cancel(prediction)
    # The first of those that were told then was under way.
    return Cancelled(max(0, told - after - 1), time.monotonic() - wished)


if __name__ == "__main__":
    main()
