"""`fluxfarm batch` against the running farm: all rows once, whatever cuts it off."""

import json
import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from fluxfarm.database import Database
from tests.contract.conftest import NewClient
from tests.processes import wait_until

COMMAND = Path(sysconfig.get_path("scripts")) / "fluxfarm"
ROWS = 8
FAST = {"num_inference_steps": "28"}
SLOW = {"num_inference_steps": "50"}

Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Whoever runs the tests in the background has them ignore Ctrl-C, and so would all that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def start(new_client: NewClient, tmp_path: Path, _interrupts: None) -> Start:
    """Begin a batch with a key that may have three predictions at once."""
    client = new_client(max_active=3)

    def begin(file: Path) -> "subprocess.Popen[str]":
        surroundings = {**os.environ, "FLUXFARM_URL": client.url, "FLUXFARM_API_KEY": client.key}
        words = [COMMAND, "batch", file.name, "-o", "drawn"]
        return subprocess.Popen(words, cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE, text=True)

    return begin


def csv_of(path: Path, rows: int = ROWS, asked: Mapping[str, str] = FAST) -> Path:
    lines = ["prompt,seed," + ",".join(asked)]
    lines += [f'"a red circle, number {n}",{n},' + ",".join(asked.values()) for n in range(1, rows + 1)]
    path.write_text("\n".join(lines) + "\n")
    return path


def index(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "drawn" / "index.jsonl").read_text().splitlines()]


def predictions(database: Database) -> int:
    asked = text("SELECT count(*) FROM prediction_inputs WHERE input ->> 'prompt' LIKE 'a red circle, number %'")
    with database.session_scope() as session:
        return int(session.execute(asked).scalar_one())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_batch_that_was_cut_off_goes_on_without_a_double(
    start: Start, tmp_path: Path, database: Database, number: int
) -> None:
    before, file = predictions(database), csv_of(tmp_path / "prompts.csv", asked=SLOW)
    first = start(file)
    drawn = tmp_path / "drawn"
    wait_until(lambda: (drawn / "index.jsonl").exists() and (drawn / "index.jsonl").stat().st_size)
    first.send_signal(number)
    first.communicate(timeout=60)
    assert first.returncode != 0
    assert 1 <= len(index(tmp_path)) < ROWS
    with (drawn / "index.jsonl").open("a") as file_of_index:
        file_of_index.write('{"row": 8, "sta')
    second = start(file)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert predictions(database) - before == ROWS
    ended = index(tmp_path)
    assert sorted(line["row"] for line in ended) == list(range(1, ROWS + 1))
    assert {line["status"] for line in ended} == {"success"}
    assert {line["row"]: line["seeds"] for line in ended} == {n: [n] for n in range(1, ROWS + 1)}
    for line in ended:
        with Image.open(drawn / line["files"][0]) as picture:
            assert picture.size == (64, 64)
    with Image.open(drawn / "contact-sheet.webp") as sheet:
        assert sheet.width > 4 * 100


def test_rows_that_are_refused_are_named_and_the_others_drawn(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    asked: list[dict[str, Any]] = [
        {"prompt": "a red circle", **FAST},
        {"prompt": "x", "seed": "soon"},
        {"seed": 1},
        {"prompt": "a nude girl (12)"},
    ]
    file.write_text("\n".join(map(json.dumps, asked)))
    done = start(file)
    _, said = done.communicate(timeout=120)
    assert done.returncode == 1
    assert "3 of 4 failed" in said
    ended = {line["row"]: line for line in index(tmp_path)}
    assert ended[1]["status"] == "success"
    assert {ended[row]["status"] for row in (2, 3, 4)} == {"refused"}
    assert "input.seed" in ended[2]["error"]
    assert "input.prompt" in ended[3]["error"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "line 1: must name the columns"),
        ("a.csv", "text\nx\n", "one of them must be prompt"),
        ("a.csv", "prompt,seed\nx,1\ny\n", "line 3: must have as many cells"),
        ("a.csv", "prompt\n", "has no rows"),
        ("a.jsonl", '{"prompt": "x"}\n{', "line 2: is not JSON"),
        ("a.jsonl", "[1]\n", "line 1: must be an object"),
        ("a.csv", "prompt\n\udcff\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_its_line(
    start: Start, tmp_path: Path, name: str, content: str, says: str
) -> None:
    file = tmp_path / name
    file.write_text(content, errors="surrogateescape")
    done = start(file)
    _, said = done.communicate(timeout=60)
    assert done.returncode == 1
    assert says in said
    assert "Traceback" not in said
