"""`fluxfarm models pull` against a small hub of our own, which speaks as much of the hub's API as that needs."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

COMMIT = "0123456789abcdef" * 2 + "01234567"
LARGE = bytes(range(256)) * (24 * 4096)
"""Larger than the pieces that the hub's library writes, so that some of it is kept where it is cut off."""
CUT = len(LARGE) * 3 // 4
WANTED = {
    "model_index.json": b"[]",
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": LARGE,
    "tokenizer/merges.txt": b"a b",
    "tokenizer_2/spiece.model": b"pieces",
}
UNWANTED = {"flux1-dev.safetensors": b"twice", "ae.safetensors": b"twice", "run.py": b"code", "old.bin": b"pickle"}
FILES = {**WANTED, **UNWANTED}


class Hub(ThreadingHTTPServer):
    """What it was asked for, and how it behaves."""

    gated = False
    cuts = 0
    """How often it yet breaks off in the middle of the large file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.fetched: list[tuple[str, str | None]] = []
        """Files, and the ranges of them."""

    def paths(self) -> set[str]:
        return {path for path, _ in self.fetched}

    def sent_of(self, name: str, begin: int) -> bytes:
        """Less than it promised, where it breaks off."""
        cut = bool(self.cuts) and FILES[name] is LARGE
        self.cuts -= cut
        return FILES[name][begin : CUT if cut else None]


class Answering(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if self.server.gated:
            self._answer(403, b"", **{"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif match := re.fullmatch(r"/[^/]+/[^/]+/resolve/\w+/(.+)", path):
            self._file(match[1])
        else:
            told = _tree() if "/tree/" in path else {"_id": "1", "id": path[12:], "sha": COMMIT, "siblings": []}
            self._answer(200, json.dumps(told).encode(), **{"Content-Type": "application/json"})

    do_HEAD = do_GET  # noqa: N815 (the name is http.server's)

    def _file(self, name: str) -> None:
        asked, size = self.headers.get("Range"), len(FILES[name])
        begin = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        told = {"ETag": f'"{_tag(name)}"', "X-Repo-Commit": COMMIT, "Content-Length": str(size - begin)}
        if begin:
            told["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        content = b""
        if self.command == "GET":
            self.server.fetched.append((name, asked))
            content = self.server.sent_of(name, begin)
        self._answer(206 if begin else 200, content, **told)

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


def _tag(name: str) -> str:
    return hashlib.sha256(FILES[name]).hexdigest()


def _tree() -> list[dict[str, object]]:
    return [{"type": "file", "path": name, "size": len(FILES[name]), "oid": _tag(name)} for name in FILES]


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def pulled(tmp_path: Path, *words: str, slug: str = "flux-krea-dev", **environment: str) -> tuple[int, str, str]:
    own = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **environment}
    command = [sys.executable, "-m", "fluxfarm.cli", "models", "pull", slug, *words]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def snapshot(tmp_path: Path, name: str) -> Path:
    return tmp_path / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / COMMIT


def whole(directory: Path) -> bool:
    there = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    return there == WANTED


def test_weights_come_whole_at_one_commit_and_only_once(hub: Hub, tmp_path: Path) -> None:
    code, said, _ = pulled(tmp_path, HF_ENDPOINT=hub.url)
    there = snapshot(tmp_path, "black-forest-labs/FLUX.1-Krea-dev")
    assert (code, whole(there), hub.paths()) == (0, True, WANTED.keys())
    assert f"FLUX.1-Krea-dev at commit {COMMIT}" in said
    assert f"FLUXFARM_WEIGHTS=flux-krea-dev={there}" in said
    hub.fetched.clear()
    assert pulled(tmp_path, "--revision", COMMIT, HF_ENDPOINT=hub.url)[:2] == (0, said)
    assert hub.fetched == []


def test_the_advice_names_the_model_as_settings_do(hub: Hub, tmp_path: Path) -> None:
    _, said, _ = pulled(tmp_path, slug="black-forest-labs/FLUX.1-Krea-dev", HF_ENDPOINT=hub.url)
    assert "FLUXFARM_WEIGHTS=flux-krea-dev=" in said


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = 1
    assert pulled(tmp_path, HF_ENDPOINT=hub.url)[0] == 0
    assert whole(snapshot(tmp_path, "black-forest-labs/FLUX.1-Krea-dev"))
    first, second = (asked for name, asked in hub.fetched if FILES[name] is LARGE)
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").partition("-")[0]) > 0


def test_only_what_is_missing_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = 1000
    code, _, complaint = pulled(tmp_path, HF_ENDPOINT=hub.url)
    assert (code, "did not come whole; the same command fetches" in complaint) == (1, True), complaint
    hub.cuts = 0
    came = hub.paths() - {"transformer/diffusion_pytorch_model.safetensors"}
    hub.fetched.clear()
    assert pulled(tmp_path, HF_ENDPOINT=hub.url)[0] == 0
    assert whole(snapshot(tmp_path, "black-forest-labs/FLUX.1-Krea-dev"))
    assert hub.paths() == WANTED.keys() - came


@pytest.mark.parametrize(
    ("slug", "more"),
    [("flux-depth-dev", "LiheYoung/depth-anything-large-hf"), ("flux-redux-dev", "black-forest-labs/FLUX.1-dev")],
)
def test_what_a_model_draws_with_beside_its_weights_comes_too(hub: Hub, tmp_path: Path, slug: str, more: str) -> None:
    code, said, _ = pulled(tmp_path, slug=slug, HF_ENDPOINT=hub.url)
    assert (code, whole(snapshot(tmp_path, more))) == (0, True)
    advice = [line for line in said.splitlines() if "FLUXFARM_WEIGHTS" in line]
    own = {"flux-depth-dev": "FLUX.1-Depth-dev", "flux-redux-dev": "FLUX.1-Redux-dev"}[slug]
    there = snapshot(tmp_path, f"black-forest-labs/{own}")
    assert advice == [f"To stay at that commit: FLUXFARM_WEIGHTS={slug}={there}"]


def test_the_checkers_of_its_pictures_come_too(hub: Hub, tmp_path: Path) -> None:
    named = f"Falconsai/nsfw_image_detection,{tmp_path},own/checker@{COMMIT}"
    code, _, _ = pulled(tmp_path, HF_ENDPOINT=hub.url, FLUXFARM_SAFETY_CHECKER=named)
    assert code == 0
    for each in ("Falconsai/nsfw_image_detection", "own/checker"):
        assert whole(snapshot(tmp_path, each))


def test_a_licence_to_accept_is_explained(hub: Hub, tmp_path: Path) -> None:
    hub.gated = True
    code, _, complaint = pulled(tmp_path, HF_ENDPOINT=hub.url)
    assert code == 1
    assert "accept it at https://huggingface.co/black-forest-labs/FLUX.1-Krea-dev" in complaint


def test_a_hub_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    code, _, complaint = pulled(tmp_path, HF_HUB_OFFLINE="1")
    assert (code, "cannot be reached" in complaint) == (1, True)


def test_weights_that_are_here_need_no_hub(tmp_path: Path) -> None:
    code, said, complaint = pulled(tmp_path, HF_HUB_OFFLINE="1", FLUXFARM_WEIGHTS="flux-krea-dev=flux-tiny")
    assert (code, complaint) == (0, "")
    assert "nothing to fetch" in said
