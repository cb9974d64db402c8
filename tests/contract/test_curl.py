"""curl follows a render, is cut off, and goes on by the id of its last event."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.api import PATIENCE_SECONDS, Api, Client, until
from tests.contract.followed import Heard, heard
from tests.contract.played import Telling, picture
from tests.processes import Proxy

STEPS = 5


@contextmanager
def curl(url: str, output: Path, *, last: str = "") -> Iterator[subprocess.Popen[bytes]]:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")
    with output.open("wb") as told:
        process = subprocess.Popen([found, "-sSN", "-H", f"Last-Event-ID: {last}", url], stdout=told)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def told_in(output: Path) -> list[Heard]:
    """Whole events; what a cut left of one is none."""
    return [*heard(output.read_text().splitlines())]


def test_curl_follows_is_cut_off_and_goes_on(api: Api, client: Client, telling: Telling, tmp_path: Path) -> None:
    created = client.try_create("unserved", num_inference_steps=STEPS).json()
    first, second = tmp_path / "first", tmp_path / "second"
    with Proxy(api.port) as proxy:
        link = created["urls"]["events"].replace(client.url, f"http://127.0.0.1:{proxy.port}")
        with curl(link, first) as process:
            until(lambda: told_in(first), first.read_text)
            held = telling.claim()
            for step in (1, 2):
                telling.make_step(held, step, steps=STEPS)
                until(lambda: len(told_in(first)) == step + 2, first.read_text)  # noqa: B023 (asked for at once)
            proxy.cut()
            assert process.wait(PATIENCE_SECONDS) != 0
        telling.make_step(held, 3, steps=STEPS)
        proxy.mend()
        with curl(link, second, last=told_in(first)[-1].id) as process:
            until(lambda: told_in(second), second.read_text)
            for step in (4, 5):
                telling.make_step(held, step, steps=STEPS)
            telling.succeed(held, picture())
            assert process.wait(PATIENCE_SECONDS) == 0
    found = told_in(first) + told_in(second)
    assert [each.name for each in found] == ["queued", "started", *["progress"] * STEPS, "succeeded"]
    assert [each.data["step"] for each in found[2:-1]] == [1, 2, 3, 4, 5]
    assert found[-1].data["status"] == "success"
