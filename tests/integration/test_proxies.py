"""The examples for nginx and Caddy, run for real in front of a server that tells what it was asked."""

import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from api.codes import ERRORS
from fluxfarm.settings import Settings
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
LARGEST_BODY = Settings().max_body_bytes
KEY, SIGNATURE = "flx_a-key-that-nobody-may-see", "a-signature-that-nobody-may-see"
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=6.6.6.6;host=evil.example",
}


class Upstream(ThreadingHTTPServer):
    """Answers with the headers it got; below /v1/prediction/…/events it sends half, and the rest when told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.rest_wanted = threading.Event()
        self.away = False
        self.paths: list[str] = []


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.close_connection = True
        if self.server.away:
            return
        self.server.paths.append(self.path)
        self.send_response(200)
        self.send_header("X-Request-Id", "from-upstream")
        self.send_header("Connection", "close")
        if self.path.endswith("/events"):
            self._stream()
            return
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def _stream(self) -> None:
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nfirst\r\n")
        self.wfile.flush()
        self.server.rest_wanted.wait(10)
        self.wfile.write(b"4\r\nrest\r\n0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Proxy:
    url: str
    directory: Path
    upstream: Upstream
    client: requests.Session

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.directory.glob("*.log"))


def certificate(directory: Path) -> None:
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", *made, *named, *files], cwd=directory, check=True, capture_output=True)


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the example has no {old!r}"
        text = text.replace(old, new)
    return text


def nginx(directory: Path, port: int, upstream: int) -> list[str]:
    """The command that runs the example on other ports, with files in `directory`."""
    text = replaced(
        (ROOT / "deploy/nginx.conf").read_text(),
        {
            "user www-data;": "user root;" if os.geteuid() == 0 else "",
            "/run/nginx.pid": f"{directory}/pid",
            "/var/log/nginx": str(directory),
            "/etc/nginx/tls/fullchain.pem": f"{directory}/cert.pem",
            "/etc/nginx/tls/privkey.pem": f"{directory}/key.pem",
            "pictures.example.com": "localhost",
            "listen 443": f"listen 127.0.0.1:{port}",
            "listen 80": f"listen 127.0.0.1:{free_port()}",
            "listen [::]": "# listen [::]",
            "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        },
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    (directory / "nginx.conf").write_text(text.replace("http {\n", "http {\n" + paths, 1))
    return ["nginx", "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf", "-g", "daemon off;"]


def caddy(directory: Path, port: int, upstream: int) -> list[str]:
    text = replaced(
        (ROOT / "deploy/Caddyfile").read_text(),
        {
            "\n{\n": f"\n{{\n\tadmin off\n\thttp_port {free_port()}\n",
            "\npictures.example.com {": f"\nhttps://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls cert.pem key.pem",
            "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        },
    )
    (directory / "Caddyfile").write_text(text)
    return ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = request.param.__name__
    if missing := [name for name in (program, "openssl") if shutil.which(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    directory, port = tmp_path_factory.mktemp(program), free_port()
    certificate(directory)
    with Upstream() as upstream, (directory / "output.log").open("wb") as output:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        command = request.param(directory, port, upstream.server_address[1])
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        running = subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output)
        proxy = Proxy(f"https://localhost:{port}", directory, upstream, new_client(directory))
        try:
            wait_until_it_answers(proxy, running)
            yield proxy
        finally:
            running.terminate()
            running.wait(10)
            proxy.client.close()
            upstream.shutdown()


def new_client(directory: Path) -> requests.Session:
    client = requests.Session()
    client.trust_env = False  # where the environment names certificates, requests takes them over its own argument
    client.verify = str(directory / "cert.pem")
    client.headers["X-API-Key"] = KEY
    return client


def wait_until_it_answers(proxy: Proxy, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            proxy.client.get(proxy.url, timeout=60)
        except requests.ConnectionError:
            assert running.poll() is None, proxy.logs()
            assert time.monotonic() < deadline, proxy.logs()
            time.sleep(0.05)
        else:
            return


def test_the_api_hears_from_the_proxy_who_calls_and_never_from_the_caller(proxy: Proxy) -> None:
    heard = proxy.client.get(proxy.url, headers=SPOOFED, timeout=60).json()
    forwarded = {name: value for name, value in heard.items() if "forwarded" in name}
    host = proxy.url.removeprefix("https://")
    assert forwarded == {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https", "x-forwarded-host": host}
    assert heard["host"] == host
    assert heard["x-api-key"] == KEY


@pytest.mark.parametrize("path", ["/v1/prediction/7/events", "/v1/events"])
def test_events_arrive_one_by_one(proxy: Proxy, path: str) -> None:
    proxy.upstream.rest_wanted.clear()
    with proxy.client.get(proxy.url + path, stream=True, timeout=60) as answer:
        chunks = answer.iter_content(chunk_size=None)
        assert next(chunks) == b"first"
        proxy.upstream.rest_wanted.set()
        assert b"".join(chunks) == b"rest"


def test_a_body_that_is_too_large_is_refused_in_json_before_it_is_sent(proxy: Proxy) -> None:
    port = int(proxy.url.rpartition(":")[2])
    trusted = ssl.create_default_context(cafile=proxy.directory / "cert.pem")
    with closing(HTTPSConnection("localhost", port, timeout=60, context=trusted)) as connection:
        connection.putrequest("POST", "/large")
        connection.putheader("Content-Length", str(LARGEST_BODY + 1))
        connection.endheaders()
        answer = connection.getresponse()
        body = json.loads(answer.read())
    assert (answer.status, body["code"]) == (413, "body_too_large")
    assert answer.headers.get_content_type() == "application/json"
    assert answer.headers["X-Request-Id"]
    assert "/large" not in proxy.upstream.paths


def test_the_largest_body_passes(proxy: Proxy) -> None:
    heard = proxy.client.post(f"{proxy.url}/fits", data=b"x" * LARGEST_BODY, timeout=20).json()
    assert heard["content-length"] == str(LARGEST_BODY)


def test_answers_of_the_api_keep_their_request_id(proxy: Proxy) -> None:
    assert proxy.client.get(proxy.url, timeout=60).headers["X-Request-Id"] == "from-upstream"


def test_while_the_api_is_away_the_answer_is_json_and_no_secret_is_logged(proxy: Proxy) -> None:
    proxy.upstream.away = True
    answer = proxy.client.get(f"{proxy.url}/files/x?exp=1&sig={SIGNATURE}", timeout=60)
    proxy.upstream.away = False
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert answer.headers["Retry-After"] == "2"
    assert "/files/x" in proxy.logs()
    assert SIGNATURE not in proxy.logs()
    assert KEY not in proxy.logs()


@pytest.mark.parametrize("example", ["nginx.conf", "Caddyfile"])
def test_a_proxys_own_answers_are_such_as_the_api_gives(example: str) -> None:
    written = re.findall(r'\{"status".*\}', (ROOT / "deploy" / example).read_text())
    assert len(written) > 2
    for body in map(json.loads, (each.replace("\\'", "'") for each in written)):
        assert body.keys() == {"status", "error", "code", "details", "docs"}
        assert body["docs"] == f"/docs#{body['code']}"
        assert body["status"] == ERRORS[body["code"]][0]
