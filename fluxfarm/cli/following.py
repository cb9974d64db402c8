"""Waits for a prediction's end and shows what happens meanwhile: by its events, and where these break off, by reads."""

import time
from types import TracebackType
from typing import Any, Self

import click
from tqdm import tqdm

from fluxfarm.cli.client import Client
from fluxfarm.cli.events import Event, events

ENDS = ("success", "error", "cancelled")
LONGEST_WAIT_SECONDS = 10
LEAST_SECONDS = 0.5
"""Between two reads, where the API holds neither calls nor streams."""
WAITING = {
    "turn": "queued at {}",
    "model_load": "queued, the weights are being loaded",
    "worker": "queued, no worker serves the model",
    "tenant": "queued, the tenant is suspended",
}


def until_end(api: Client, prediction: str) -> dict[str, Any]:
    """Follow a prediction; returns what a read tells of it once it has ended. Raises as `Client.call` does."""
    last = None
    with Shown() as shown:
        while True:
            began = time.monotonic()
            for event in events(api, prediction, last):
                last = event.id
                if event.data.get("status") in ENDS:
                    return event.data
                shown.event(event)
            seen = api.look(f"/v1/prediction/{prediction}?wait={LONGEST_WAIT_SECONDS}&until=change").json()
            if seen["status"] in ENDS:
                return dict(seen)
            shown.read(seen)
            time.sleep(max(0.0, began + LEAST_SECONDS - time.monotonic()))


class Shown:
    """One line of progress on a terminal; elsewhere a line for each thing that happens, steps aside."""

    def __init__(self) -> None:
        self._said: str | None = None

    def __enter__(self) -> Self:
        # None: only where it is a terminal.
        self._bar = tqdm(unit="step", leave=False, disable=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def event(self, event: Event) -> None:
        if event.name == "queued":
            self._say(_waiting(event.data))
        elif event.name == "started":
            self._say("started")
        elif event.name == "progress":
            self._step(event.data)
        elif event.name == "snapshot":
            self.read(event.data)

    def read(self, seen: dict[str, Any]) -> None:
        """What a read tells of one that has not ended."""
        if seen["status"] == "starting":
            self._say(_waiting(seen["queue"]))
        else:
            self._step(seen["progress"])

    def _step(self, at: dict[str, Any]) -> None:
        self._say(f"picture {max(1, at['image'])} of {at['images']}" if at["images"] > 1 else "drawing")
        self._bar.total = at["steps"] * at["images"]
        self._bar.n = max(0, at["image"] - 1) * at["steps"] + at["step"]
        self._bar.refresh()

    def _say(self, what: str) -> None:
        if what == self._said:
            return
        self._said = what
        if self._bar.disable:
            click.echo(what, err=True)
        else:
            self._bar.set_description_str(what)


def _waiting(queue: dict[str, Any]) -> str:
    position = queue["position"]
    return WAITING.get(queue["waiting_for"], "queued").format(position)
