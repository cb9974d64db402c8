"""`fluxfarm batch`: draw all rows of a file, as many at once as the key may, and go on where it was cut off."""

import json
import math
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import click
import requests
from tqdm import tqdm

from fluxfarm.cli.batch_rows import Row, rows
from fluxfarm.cli.client import ABSENT, PATIENCE_SECONDS, Client, client, code, refusal, retry_after
from fluxfarm.cli.contact_sheet import contact_sheet
from fluxfarm.cli.following import ENDS
from fluxfarm.cli.transfer import PictureGone, save_pictures

INDEX = "index.jsonl"
IDENTITY = "batch-id"
SHEET = "contact-sheet.webp"
LONGEST_WAIT_SECONDS = 10
FULL = (requests.codes.too_many_requests, requests.codes.conflict)
"""There is no room yet, or a create of the same id is under way."""
OF_THE_ROW = (
    "bad_request",
    "body_too_large",
    "idempotency_mismatch",
    "invalid_input",
    "model_not_allowed",
    "model_not_found",
    "prompt_blocked",
    "safety_checker_required",
)
"""Refusals of one row for what it asks; all others are none of its fault."""
GONE = "not_found"
EXPIRED = {"status": "expired", "error": "It was gone before its pictures were saved."}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="A directory.")
@click.option("--model", default="flux-dev", show_default=True, help="For rows that name none.")
def batch(file: Path, output: Path, model: str) -> None:
    """Draw every row of FILE, a CSV with a heading or JSONL, and save it all in a directory.

    A row's fields are the API's inputs: a prompt, and any other; `model` and `priority` may be fields, too. The
    directory gets the pictures, index.jsonl and a contact sheet. Called again it goes on where it stopped, and tries
    again what failed.
    """
    asked = rows(file, model)
    output.mkdir(parents=True, exist_ok=True)
    with Index(output) as index:
        try:
            Batch(client(), output, index, deque(row for row in asked if not index.done(row))).run(len(asked))
        except KeyboardInterrupt:
            raise click.ClickException("Stopped. Give the same command again to go on.") from None
        failed = index.write_sheet(output / SHEET, asked)
    if failed:
        raise click.ClickException(f"{failed} of {len(asked)} failed; {output / INDEX} says why.")


class Index:
    """What has become of each row, a line each, written as soon as it is known."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / INDEX
        self._identity = directory / IDENTITY
        self._ended: dict[int, dict[str, Any]] = {}
        self._failures: dict[int, int] = {}

    def __enter__(self) -> Self:
        if not self._identity.exists():
            # Whole or not at all: with half an id no later call could go on.
            draft = self._identity.with_name(f".{IDENTITY}.part")
            draft.write_text(str(uuid.uuid4()))
            draft.replace(self._identity)
        self._batch = uuid.UUID(self._identity.read_text())
        self._file = self._path.open("a+", buffering=1)
        self._file.seek(0)
        whole = 0
        for line in iter(self._file.readline, ""):
            if not line.endswith("\n"):
                # The write was cut off; its row is asked for again, which draws nothing twice.
                self._file.truncate(whole)
                break
            self._remember(json.loads(line))
            whole += len(line.encode())
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def id_of(self, row: Row) -> uuid.UUID:
        """The row's own id: the same for the same row of the same batch, another once it has failed or was changed."""
        asked = json.dumps([row.number, self._failures.get(row.number, 0), row.asked], sort_keys=True)
        return uuid.uuid5(self._batch, asked)

    def done(self, row: Row) -> bool:
        ended = self._ended.get(row.number)
        return ended is not None and ended["status"] == "success" and ended["id"] == str(self.id_of(row))

    def write(self, row: Row, prediction: uuid.UUID, seen: dict[str, Any], files: list[Path]) -> None:
        """Note how a row ended."""
        line = {
            "row": row.number,
            "id": str(prediction),
            "status": seen["status"],
            "prompt": row.prompt,
            "files": [file.name for file in files],
            "seeds": [image.get("seed") for image in seen.get("images") or ()],
            "error": seen.get("error"),
        }
        self._file.write(json.dumps(line) + "\n")
        self._remember(line)

    def write_sheet(self, path: Path, asked: list[Row]) -> int:
        """Draw the contact sheet of all that is there; returns how many rows failed."""
        ended = [self._ended[row.number] for row in asked if row.number in self._ended]
        shown = [(path.parent / file, line["prompt"]) for line in ended for file in line["files"]]
        contact_sheet([each for each in shown if each[0].exists()], path)
        return sum(line["status"] != "success" for line in ended)

    def _remember(self, line: dict[str, Any]) -> None:
        self._ended[line["row"]] = line
        if line["status"] != "success":
            self._failures[line["row"]] = self._failures.get(line["row"], 0) + 1


@dataclass(slots=True)
class Batch:
    """Creates while the key's limits let it, and looks after what is under way meanwhile."""

    api: Client
    output: Path
    index: Index
    pending: deque[Row]
    _under_way: deque[tuple[uuid.UUID, Row]] = field(default_factory=deque)
    _create_again_at: float = 0.0
    _absent_since: float | None = None

    def run(self, total: int) -> None:
        with tqdm(total=total, initial=total - len(self.pending), unit="row", desc="batch") as bar:
            while self.pending or self._under_way:
                if self.pending and time.monotonic() >= self._create_again_at:
                    bar.update(self._create(self.pending.popleft()))
                    continue
                bar.set_postfix(under_way=len(self._under_way))
                if self._under_way:
                    bar.update(self._wait_for_first())
                else:
                    time.sleep(max(0.0, self._create_again_at - time.monotonic()))

    def _create(self, row: Row) -> bool:
        """Whether the row has ended with that: it was refused.

        It keeps its id unless that is sure: what a broken gateway answered for may have been created.
        """
        prediction = self.index.id_of(row)
        response = self.api.ask("PUT", f"/v1/prediction/{prediction}", json=row.body())
        self._note_absence(response)
        if response is None or response.status_code in (*FULL, *ABSENT):
            self.pending.appendleft(row)
            self._create_again_at = time.monotonic() + retry_after(response)
            return False
        if response.status_code == requests.codes.ok:
            self._under_way.append((prediction, row))
            return False
        if response.status_code != requests.codes.request_entity_too_large and code(response) not in OF_THE_ROW:
            raise click.ClickException(refusal(response))
        self.index.write(row, prediction, {"status": "refused", "error": refusal(response)}, [])
        return True

    def _note_absence(self, response: requests.Response | None) -> None:
        """Raises `ClickException` once nobody has taken a create for a minute."""
        now = time.monotonic()
        if response is not None and response.status_code not in ABSENT:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = now
        elif now - self._absent_since > PATIENCE_SECONDS:
            self.api.judged(response)

    def _wait_for_first(self) -> bool:
        """Whether the one that was created first has ended, and what it drew is saved."""
        prediction, row = self._under_way[0]
        wait = LONGEST_WAIT_SECONDS
        if self.pending:
            wait = min(wait, math.ceil(max(0.0, self._create_again_at - time.monotonic())))
        seen = self._look(f"/v1/prediction/{prediction}?wait={wait}")
        if seen["status"] not in (*ENDS, EXPIRED["status"]):
            return False
        images = seen["images"] if seen["status"] == "success" else []
        try:
            files = save_pictures(images, self.output / f"{row.number:05}")
        except PictureGone:
            seen, files = EXPIRED, []
        self._under_way.popleft()
        self.index.write(row, prediction, seen, files)
        self._create_again_at = 0.0
        return True

    def _look(self, path: str) -> dict[str, Any]:
        response = self.api.look_for(path)
        if response is not None and code(response) == GONE:
            return EXPIRED
        seen: dict[str, Any] = self.api.judged(response).json()
        return seen
