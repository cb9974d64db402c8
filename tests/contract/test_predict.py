"""`fluxfarm predict` as it waits: told of each step, and none the worse where the stream breaks or is refused."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fluxfarm.cli import following
from fluxfarm.cli.client import Client as Asking
from fluxfarm.cli.events import Event, events
from fluxfarm.cli.predict import predict
from tests.api import Client, until
from tests.contract.gateway import CUT, gateway
from tests.contract.played import Telling, picture
from tests.processes import Proxy

STEPS = 5
Draw = Callable[..., Result]


@pytest.fixture
def draw(client: Client, tmp_path: Path) -> Draw:
    """Give the command, in this process, whose standard error is no terminal."""

    def run(*words: str, url: str = client.url) -> Result:
        surroundings = {"FLUXFARM_URL": url, "FLUXFARM_API_KEY": client.key}
        return CliRunner().invoke(predict, ["a red circle", "-o", str(tmp_path / "red.png"), *words], env=surroundings)

    return run


def test_it_says_what_happens_and_prints_the_file(draw: Draw, worker: None, tmp_path: Path) -> None:
    done = draw("--num-outputs", "2", "--num-inference-steps", "20")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(tmp_path / f"red-{number}.png") for number in (1, 2)]
    said = done.stderr.splitlines()
    assert said[-3:-1] == ["picture 1 of 2", "picture 2 of 2"]
    assert "stand-in" in said[-1].lower()


def test_it_asks_once_and_is_told_the_rest(draw: Draw, worker: None, client: Client) -> None:
    with gateway(client.url) as between:
        done = draw("--json", url=between.url)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["status"] == "success"
    asked = [path.rpartition("/")[2] for path in between.calls("GET") if path.startswith("/v1/")]
    assert asked == ["events"]


@pytest.mark.parametrize("broken", [CUT, 502, 403])
def test_where_streams_break_it_reads(draw: Draw, worker: None, client: Client, broken: int) -> None:
    with gateway(client.url) as between:
        between.breaks("GET", "/v1/prediction/", [broken])
        done = draw(url=between.url)
    assert done.exit_code == 0, done.output
    asked = [path for path in between.calls("GET") if path.startswith("/v1/")]
    assert asked[0].endswith("/events")
    assert "until=change" in asked[1]


def test_a_stream_that_is_cut_goes_on_after_what_was_shown(
    client: Client, telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = client.create("unserved", num_inference_steps=STEPS)
    shown: list[Event] = []
    monkeypatch.setattr(following.Shown, "event", lambda _, event: shown.append(event))
    monkeypatch.setattr(following, "LONGEST_WAIT_SECONDS", 0)
    found: dict[str, Any] = {}

    def steps() -> list[int]:
        return [each.data["step"] for each in shown if each.name == "progress"]

    with Proxy(int(client.url.rpartition(":")[2])) as proxy:
        api = Asking(f"http://127.0.0.1:{proxy.port}", str(client.key))
        follower = threading.Thread(target=lambda: found.update(following.until_end(api, prediction)))
        follower.start()
        held = telling.claim()
        for step in range(1, STEPS + 1):
            telling.make_step(held, step, steps=STEPS)
            until(lambda: step in steps(), lambda: str(shown))  # noqa: B023 (called at once)
            proxy.cut()
            proxy.mend()
        telling.succeed(held, picture())
        follower.join()
    assert steps() == [1, 2, 3, 4, 5]
    assert (found["id"], found["status"]) == (prediction, "success")


def test_a_stream_that_is_refused_says_nothing(client: Client) -> None:
    assert list(events(Asking(client.url, str(client.key)), "nothing", None)) == []
