"""The sample program that clients of the Eachlabs API start from, run as it stands, directly and through a proxy."""

import dataclasses
import io
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
from PIL import Image

from fluxfarm.keys import IssuedKey
from fluxfarm.settings import Settings
from tests.api import Api, serving
from tests.contract.played import picture

SAMPLE = Path(__file__).with_name("eachlabs_sample.py")
PASSED_ON = ("Content-Type", "Content-Length", "X-API-Key", "X-Request-Id")


def sample(host: str, key: IssuedKey, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, SAMPLE, host, key.key, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout


def link(output: str) -> str:
    assert re.search(r"^Processing time: \d+(\.\d+)?s$", output, re.MULTILINE), output
    found = re.search(r"^Output URL: (http\S+)$", output, re.MULTILINE)
    assert found is not None, output
    return found[1]


def test_without_a_picture(api: Api, new_key: Callable[..., IssuedKey], worker: None) -> None:
    url = link(sample(api.url, new_key()))
    with requests.get(url, timeout=60) as file, Image.open(io.BytesIO(file.content)) as image:
        assert image.format == "WEBP"


def test_with_a_picture(api: Api, new_key: Callable[..., IssuedKey], worker: None, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(picture("green", (200, 100), "JPEG"))
    url = link(sample(api.url, new_key(), str(path)))
    with requests.get(url, timeout=60) as file, Image.open(io.BytesIO(file.content)) as image:
        assert image.width == image.height


def test_with_its_placeholder_left_in(api: Api, new_key: Callable[..., IssuedKey]) -> None:
    output = sample(api.url, new_key(), "your_file.image/jpeg")
    assert "not a URL, data URI or file; leave it out for text-to-image" in output
    assert "'status': 400" in output


def test_through_a_proxy_under_another_name(
    farm: Settings, logs: Path, new_key: Callable[..., IssuedKey], worker: None
) -> None:
    with proxy() as front:
        settings = dataclasses.replace(farm, public_url=front.address, api_workers=1)
        with serving(settings, logs) as behind:
            front.target = behind.url
            url = link(sample(front.address, new_key()))
            assert url.startswith(f"{front.address}/files/")
            assert requests.get(url, timeout=60).headers["Content-Type"] == "image/webp"
            assert f"curl -sS {front.address}/v1/prediction" in requests.get(f"{behind.url}/docs", timeout=60).text


class Proxy(ThreadingHTTPServer):
    """A reverse proxy that calls the API by a name of its own."""

    target = ""
    daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://localhost:{self.server_address[1]}"


class Forward(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        sent |= {"Host": "farm.internal", "X-Forwarded-For": self.client_address[0]}
        with requests.request(
            self.command, self.server.target + self.path, data=body, headers=sent, timeout=30, allow_redirects=False
        ) as answer:
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in ("Server", "Date", "Connection", "Transfer-Encoding", "Content-Length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    do_POST = do_GET  # noqa: N815 (named by http.server)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def proxy() -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", 0), Forward) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
