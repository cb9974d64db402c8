"""`fluxfarm models pull` against a small hub of our own."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


class Gated(BaseHTTPRequestHandler):
    """What the hub says to whoever has not accepted a licence."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to model is restricted")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 (the name is http.server's)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def gated() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gated)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def pulled(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", **environment}
    command = [sys.executable, "-m", "fluxfarm.cli", "models", "pull", "flux-krea-dev"]
    return subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)


def test_a_licence_to_accept_is_explained(gated: str, tmp_path: Path) -> None:
    found = pulled(tmp_path, HF_ENDPOINT=gated)
    assert found.returncode == 1
    assert "accept it at https://huggingface.co/black-forest-labs/FLUX.1-Krea-dev" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_hub_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    found = pulled(tmp_path, HF_HUB_OFFLINE="1")
    assert found.returncode == 1
    assert "cannot be reached" in found.stderr
    assert "Traceback" not in found.stderr


def test_weights_that_are_here_need_no_hub(tmp_path: Path) -> None:
    found = pulled(tmp_path, HF_HUB_OFFLINE="1", FLUXFARM_WEIGHTS="flux-krea-dev=flux-tiny")
    assert (found.returncode, found.stderr) == (0, "")
    assert "nothing to fetch" in found.stdout
