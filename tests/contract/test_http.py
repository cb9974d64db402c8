"""HTTP itself: ids of requests, methods, malformed requests; and that nothing sent makes it break or answer in HTML."""

import contextlib
import dataclasses
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fluxfarm.settings import Settings
from tests.api import Api, Client, serving
from tests.contract.conftest import NewClient

JSON = {"Content-Type": "application/json"}
PREDICTION = "/v1/prediction/00000000-0000-0000-0000-000000000000"


def raw(api: Api, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, and read the first answer."""
    received = b""
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
        with contextlib.suppress(OSError):  # it may hang up on what is too long
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body[: int(headers["Content-Length"])]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "bad_request"),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request"),
        (b"GET /secret HTTP/9.9\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon here\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: wonders\r\n\r\n", 501, "not_implemented"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 1\r\n\r\n", 417, "expectation_failed"),
    ],
    ids=range(10),
)
def test_what_is_no_request_is_answered_in_json(api: Api, sent: bytes, status: int, code: str) -> None:
    got, headers, body = raw(api, sent)
    answer = json.loads(body)
    assert (got, answer["status"], answer["code"]) == (status, status, code)
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Request-Id"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_logs_do_not_repeat_what_was_malformed(api: Api) -> None:
    raw(api, b"GET /files/x?sig=verysecret HTTP/9.9\r\n\r\n")
    raw(api, b"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key flx_verysecret\r\n\r\n")
    assert "verysecret" not in api.log.read_text()


def test_logs_hold_no_prompts_keys_or_links(api: Api, client: Client) -> None:
    found = client.look(client.create("unserved", prompt="a verysecret circle", image="https://example.com/secret.png"))
    assert client.key is not None
    client.get(found["urls"]["get"] + "?token=verysecret")
    client.ask("POST", "/v1/prediction", data=b'{"verysecret', headers=JSON)
    logged = api.log.read_text()
    assert found["id"] in logged
    assert not [each for each in ("verysecret", client.key, client.key.split("_")[2], "secret.png") if each in logged]


def test_a_stop_does_not_wait_for_idle_connections(farm: Settings, logs: Path) -> None:
    with serving(dataclasses.replace(farm, api_workers=1), logs) as api, requests.Session() as session:
        assert session.get(f"{api.url}/healthz", timeout=30).status_code == 200
        api.process.terminate()
        api.process.wait(5)
    assert '"a connection failed"' not in api.log.read_text()
    assert "Traceback" not in api.log.read_text()


def test_a_body_in_broken_chunks_is_400(api: Api, client: Client) -> None:
    head = f"POST /v1/prediction HTTP/1.1\r\nHost: a\r\nX-API-Key: {client.key}\r\nContent-Type: application/json\r\n"
    status, _, body = raw(api, head.encode() + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n")
    assert (status, json.loads(body)["code"]) == (400, "bad_request")


def test_a_body_that_ends_early_is_400(api: Api, client: Client) -> None:
    head = f"POST /v1/prediction HTTP/1.1\r\nHost: a\r\nX-API-Key: {client.key}\r\nContent-Type: application/json\r\n"
    status, _, body = raw(api, head.encode() + b'Content-Length: 500\r\n\r\n{"model": "flux-dev"')
    assert (status, json.loads(body)["code"]) == (400, "bad_request")


def test_a_sane_request_id_is_taken_over(client: Client, api: Api) -> None:
    sent = "order-66.b_c"
    response = client.try_create("unserved", headers={"X-Request-Id": sent})
    assert response.headers["X-Request-Id"] == sent
    assert f'"request_id": "{sent}"' in api.log.read_text()


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "é", '"}{', "a,b"])
def test_any_other_request_id_is_replaced(stranger: Client, sent: str) -> None:
    headers: Any = {"X-Request-Id": sent.encode("latin-1")}
    ids = {stranger.get("/healthz", headers=headers).headers["X-Request-Id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/prediction", {"POST"}),
        ("/v1/prediction/", {"POST"}),
        (PREDICTION, {"GET", "HEAD", "PUT", "DELETE"}),
        (PREDICTION + "/cancel", {"POST"}),
        ("/v1/executions", {"GET", "HEAD"}),
        ("/v1/models", {"GET", "HEAD"}),
        ("/v1/model", {"GET", "HEAD"}),
        ("/files/00000000-0000-0000-0000-000000000000/0.webp", {"GET", "HEAD"}),
        ("/healthz", {"GET", "HEAD"}),
        ("/readyz", {"GET", "HEAD"}),
        ("/docs", {"GET", "HEAD"}),
    ],
)
def test_each_path_takes_its_methods_and_names_them(stranger: Client, path: str, allowed: set[str]) -> None:
    options = stranger.ask("OPTIONS", path)
    assert set(options.headers["Allow"].split(", ")) == allowed | {"OPTIONS"}
    assert "Content-Type" not in options.headers
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - allowed:
        response = stranger.ask(method, path)
        assert response.status_code == 405
        assert set(response.headers["Allow"].split(", ")) == allowed | {"OPTIONS"}


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1//models", "/v1/models/", "/.env", "/files/"])
def test_other_paths_are_404_without_a_redirect(stranger: Client, path: str) -> None:
    response = stranger.ask("GET", stranger.url + path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


PATHS = st.one_of(
    st.sampled_from(["/v1/prediction", "/v1/prediction/", "/v1/models", "/v1/model", "/files/x/y", "/readyz", "/docs"]),
    st.text(max_size=40).map(lambda tail: "/" + tail),
    st.text(max_size=40).map(lambda tail: "/v1/prediction/" + tail),
    st.text(max_size=40).map(lambda tail: "/v1/model?slug=" + tail),
    st.text(max_size=20).map(lambda tail: f"/files/00000000-0000-0000-0000-000000000000/{tail}?exp={tail}&sig={tail}"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["prompt", "image", "seed", "guidance", "num_outputs", "width", "height", "aspect_ratio", "megapixels", "x"]
)
INPUTS = st.dictionaries(NAMES, VALUES, max_size=6)
BODIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda sent: json.dumps({"model": "unserved", "input": sent}).encode(), INPUTS),
)
METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])

many = hypothesis_settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def tireless(new_client: NewClient) -> Client:
    return new_client(creates_per_minute=100_000, reads_per_minute=1_000_000, max_active=100_000)


@many
@given(method=METHODS, path=PATHS, body=BODIES)
def test_nothing_breaks_it(tireless: Client, method: str, path: str, body: bytes) -> None:
    response = tireless.ask(method, path, data=body, headers=JSON)
    assert response.status_code < 500
    assert b"Traceback" not in response.content
    if "html" in response.headers.get("Content-Type", ""):
        assert response.url.partition("?")[0].removeprefix(tireless.url) in ("/", "/docs")


@many
@given(sent=INPUTS)
def test_no_input_breaks_it(tireless: Client, sent: dict[str, Any]) -> None:
    body = json.dumps({"model": "unserved", "input": sent})
    assert tireless.ask("POST", "/v1/prediction", data=body, headers=JSON).status_code in (200, 400, 429)
