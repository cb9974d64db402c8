"""A real browser's EventSource, in a page of another origin: it follows, is cut off, and goes on by itself."""

import dataclasses
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fluxfarm.settings import Settings
from tests.api import Client, serving, until
from tests.contract.followed import ENDS, Reader
from tests.contract.played import Telling, picture
from tests.processes import Proxy

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
STEPS = 5
PAGE = """<!doctype html><title>follows</title><script>
const source = new EventSource(%(link)s)
let told = Promise.resolve()
const tell = (what) => told = told.then(() => fetch("/heard", {method: "POST", body: JSON.stringify(what)}))
for (const name of ["queued", "started", "progress", "log", "snapshot", "succeeded", "failed", "cancelled"])
  source.addEventListener(name, (event) => {
    tell({name, id: event.lastEventId, data: JSON.parse(event.data)})
    if (["succeeded", "failed", "cancelled"].includes(name)) source.close()
  })
</script>"""


class Page(ThreadingHTTPServer):
    """Serves one page, and hears what it says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.heard: list[dict[str, Any]] = []
        self.html = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def names(self) -> list[str]:
        return [each["name"] for each in self.heard]


class Answer(BaseHTTPRequestHandler):
    server: Page

    def do_GET(self) -> None:
        self._answer(self.server.html.encode() if self.path == "/" else b"")

    def do_POST(self) -> None:
        self.server.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[Page]:
    with Page() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def browser(url: str, directory: Path) -> Iterator[None]:
    """A browser that has the page open for as long as the block runs."""
    found = next((each for each in BROWSERS if shutil.which(each)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command = [found, *options, f"--user-data-dir={directory}", "--remote-debugging-port=0", url]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HOME": str(directory)})
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def test_a_page_of_another_origin_follows_is_cut_off_and_goes_on(
    farm: Settings,
    logs: Path,
    client: Client,
    telling: Telling,
    page: Page,
    tmp_path: Path,
) -> None:
    allowed = dataclasses.replace(farm, allowed_origins=(page.origin,), api_workers=1)
    with serving(allowed, logs) as api, Proxy(api.port) as proxy:
        created = client.try_create("unserved", num_inference_steps=STEPS).json()
        link = created["urls"]["events"].replace(client.url, f"http://127.0.0.1:{proxy.port}")
        page.html = PAGE % {"link": json.dumps(link)}

        def heard(count: int) -> None:
            until(lambda: len(page.heard) >= count, lambda: f"{page.names()} {(tmp_path / 'log').read_text()[-2000:]}")

        with browser(page.origin + "/", tmp_path):
            heard(1)
            held = telling.claim()
            telling.make_step(held, 1, steps=STEPS)
            heard(3)
            for step in range(2, STEPS + 1):
                proxy.cut()
                telling.make_step(held, step, steps=STEPS)
                proxy.mend()
                heard(step + 2)
            telling.succeed(held, picture())
            heard(STEPS + 3)
        with Reader(created["urls"]["events"]) as reader:
            plain = reader.rest()
    assert page.names() == ["queued", "started", *["progress"] * STEPS, "succeeded"]
    assert page.names()[-1] in ENDS
    assert [each["id"] for each in page.heard[1:]] == [each.id for each in plain]


def test_a_page_of_an_origin_that_is_not_allowed_hears_nothing(
    farm: Settings,
    client: Client,
    telling: Telling,
    page: Page,
    tmp_path: Path,
) -> None:
    link = client.try_create("unserved").json()["urls"]["events"]
    refused = 'source.onerror = () => tell({name: "refused"})\n</script>'
    page.html = (PAGE % {"link": json.dumps(link)}).replace("</script>", refused)
    with browser(page.origin + "/", tmp_path):
        until(lambda: bool(page.heard), lambda: (tmp_path / "log").read_text()[-2000:])
    assert page.names()[0] == "refused"
