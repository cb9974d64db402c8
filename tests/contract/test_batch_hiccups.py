"""`fluxfarm batch` behind a gateway that breaks, with a key that does, and after its predictions are gone."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from fluxfarm.cli import batch as command
from fluxfarm.cli import client as asking
from fluxfarm.cli.batch_rows import rows
from fluxfarm.database import Database
from tests.api import Client
from tests.contract.conftest import NewClient
from tests.contract.gateway import CUT, Gateway, gateway
from tests.contract.played import picture
from tests.contract.test_batch import csv_of, index, predictions
from tests.servers import free_port

ROWS = 3
NOTHING = "fk_0000000000000000_wrong"

Draw = Callable[..., Result]


@pytest.fixture
def client(new_client: NewClient, worker: None) -> Client:
    return new_client(max_active=2)


@pytest.fixture
def between(client: Client) -> Iterator[Gateway]:
    with gateway(client.url) as made:
        yield made


@pytest.fixture
def draw(client: Client, between: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Give the command, in this process."""
    file = csv_of(tmp_path / "prompts.csv", ROWS)

    def run(url: str = between.url, key: str | None = client.key) -> Result:
        surroundings = {"FLUXFARM_URL": url, "FLUXFARM_API_KEY": key}
        return CliRunner().invoke(command.batch, [str(file), "-o", str(tmp_path / "drawn")], env=surroundings)

    return run


def test_a_gateway_that_breaks_has_nothing_drawn_twice(
    draw: Draw, between: Gateway, tmp_path: Path, database: Database
) -> None:
    before = predictions(database)
    between.breaks("PUT", "/v1/prediction/", [502, 504, 500, CUT])
    between.breaks("GET", "/v1/prediction/", [502, CUT])
    between.breaks("GET", "/files/", [503, CUT])
    done = draw()
    assert done.exit_code == 0, done.output
    assert not any(left for left in between.broken.values()), "all of it was met"
    assert predictions(database) - before == ROWS
    assert [line["status"] for line in index(tmp_path)] == ["success"] * ROWS


def test_a_key_that_is_refused_ends_the_batch_and_condemns_no_row(
    draw: Draw, between: Gateway, client: Client, tmp_path: Path, database: Database
) -> None:
    first = draw(key=NOTHING)
    assert first.exit_code == 1
    assert "API key" in first.output
    assert (index(tmp_path), len(between.calls("PUT"))) == ([], 1)
    with database.session_scope() as session:
        session.execute(text("UPDATE tenants SET suspended_at = clock_timestamp()"))
    assert "suspended" in draw().output
    with database.session_scope() as session:
        session.execute(text("UPDATE tenants SET suspended_at = NULL"))
    assert draw().exit_code == 0
    assert len(set(between.calls("PUT"))) == ROWS, "each row had one id"


def test_what_is_gone_before_it_was_saved_is_said_and_drawn_again(
    draw: Draw, between: Gateway, tmp_path: Path, database: Database
) -> None:
    between.breaks("GET", "/files/", [403])
    assert "403 from its link" in draw().output
    with database.session_scope() as session:
        session.execute(text("UPDATE predictions SET expires_at = clock_timestamp() WHERE completed_at IS NOT NULL"))
    second = draw()
    assert second.exit_code == 1
    lost = [line for line in index(tmp_path) if line["status"] == "expired"]
    assert lost
    assert all("gone" in line["error"] for line in lost)
    assert draw().exit_code == 0


def test_where_nobody_answers_it_says_so(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (asking, command):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0)
    done = draw(url=f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == 1
    assert "No answer from" in done.output


def test_input_pictures_are_data_uris_links_or_files_beside_and_are_read_one_by_one(tmp_path: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture(form="PNG") * 20).decode()
    (tmp_path / "a.png").write_bytes(picture(form="PNG"))
    images = [uri, "https://example.com/a.png", "a.png", "x" * 5000]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": "x", "image": each}) for each in images))
    found = rows(file, "flux-dev")
    sent: list[Any] = [each.body()["input"]["image"] for each in found]
    assert (sent[0], sent[1], sent[3]) == (images[0], images[1], images[3])
    assert base64.b64decode(sent[2].partition(",")[2]) == picture(form="PNG")
    assert "base64" not in str(found[2]), "thousands of them would not fit"
    (tmp_path / "a.png").write_bytes(picture("blue", form="PNG"))
    changed = rows(file, "flux-dev")
    assert [each.asked == before.asked for each, before in zip(changed, found, strict=True)] == [
        True,
        True,
        False,
        True,
    ]
