"""`/openapi.json` and `/docs` tell all there is, and nothing else."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from flask import Flask
from openapi_spec_validator import OpenAPIV31SpecValidator

from api import errors as api_errors
from api.codes import CANCELLATIONS, ERRORS, FAILURES
from api.docs import docs
from api.doors.eachlabs_create import DIALECT
from api.doorways import DOORS
from api.files import files
from api.front import front
from api.health import health
from fluxfarm.catalog import load_catalog
from fluxfarm.errors import FluxfarmError
from fluxfarm.settings import Settings
from tests.api import ROOT, Client, Description, serving

LARGE = b'{"model": "unserved", "input": "' + b"x" * 15_000_000 + b'"}'

INSIDE = {"settings_error", "prediction_failed", "cancelled", "lease_lost", "worker_fault", "limit_reached", "stopped"}
"""Codes that never reach a client as an error answer."""


def test_the_document_is_valid(described: Description) -> None:
    OpenAPIV31SpecValidator(described.document).validate()  # type: ignore[arg-type]


def test_each_route_is_described_and_each_description_has_a_route(described: Description) -> None:
    app = Flask("api", static_folder=None)
    for blueprint in (*DOORS, files, health, docs, front):
        app.register_blueprint(blueprint)
    there = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    told = {(path, method) for path, methods in described.document["paths"].items() for method in methods}
    assert told == there


def test_every_path_parameter_is_described(described: Description) -> None:
    parameters = described.document["components"]["parameters"]
    for path, methods in described.document["paths"].items():
        for call in methods.values():
            named = [parameters[each["$ref"].rpartition("/")[2]] for each in call["parameters"]]
            assert {each["name"] for each in named if each["in"] == "path"} == set(re.findall(r"{(\w+)}", path))


def test_the_input_schema_is_the_one_that_validates(described: Description, farm: Settings) -> None:
    for slug, model in load_catalog(farm).models.items():
        schema = dict(DIALECT.schema(model))
        del schema["$schema"]
        assert described.document["components"]["schemas"][f"{slug}.input"] == schema


def test_every_error_code_is_told() -> None:
    domain = {kind.code for kind in _descendants(FluxfarmError)}
    assert domain - INSIDE <= set(ERRORS)
    assert set(api_errors.HTTP_CODES.values()) <= set(ERRORS)
    assert all(ERRORS[code][0] == number for number, code in api_errors.HTTP_CODES.items())


def test_every_failure_code_is_told() -> None:
    source = "".join(path.read_text() for room in ("worker", "fluxfarm") for path in (ROOT / room).rglob("*.py"))
    raised = set(re.findall(r"(?:PredictionFailed\(|__init__\()\s*\"(\w+)\"", source))
    ended = set(re.findall(r"Status\.FAILED, \"(\w+)\"", source))
    assert raised | ended == set(FAILURES)
    assert len(ended) == 3


def test_the_page_shows_every_call_model_and_code(stranger: Client, described: Description) -> None:
    page = stranger.get("/docs").text
    shown = _text(page)
    for path in described.document["paths"]:
        assert path in shown
    for code in (*ERRORS, *FAILURES, *CANCELLATIONS):
        assert code in shown
    for name, field in described.document["components"]["schemas"]["flux-dev.input"]["properties"].items():
        assert name in shown
        assert field["description"].replace("`", "") in shown
    assert f"curl -sS {stranger.url}/v1/prediction" in shown
    assert "1 to 50" in shown


def test_the_page_needs_nobody_else_and_runs_nothing(stranger: Client) -> None:
    response = stranger.get("/docs")
    policy = response.headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", response.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert not re.findall(r"<(?:script|link|img|iframe)\b|\bsrc=|style=|\bon\w+=", response.text)


def test_links_within_the_page_lead_somewhere(stranger: Client) -> None:
    page = stranger.get("/docs").text
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))


def test_the_command_of_the_page_works_when_pasted(client: Client, described: Description) -> None:
    sample = described.document["paths"]["/v1/prediction"]["post"]["x-codeSamples"][0]["source"]
    assert '\'{"model": "flux-dev"' in sample
    body = re.search(r"-d '(.*)'", sample)
    assert body is not None
    response = client.ask("POST", "/v1/prediction", data=body[1], headers={"Content-Type": "application/json"})
    assert response.status_code == 200


def test_the_front_page_tells_what_runs_here(client: Client, stranger: Client, worker: None) -> None:
    for _ in range(3):
        client.create("unserved")
    page = stranger.get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    rows = [re.sub(r"<[^>]+>|\s+", " ", row) for row in re.findall(r"<tr>.*?</tr>", page.text, re.DOTALL)]
    assert [row.split()[-3:] for row in rows[1:]] == [["1", "0", "0"], ["0", "3", "0"]]
    assert 'href="docs"' in page.text
    assert "http" not in re.sub(r"<style>.*?</style>", "", page.text, flags=re.DOTALL).replace("http-equiv", "")


def test_a_forged_host_cannot_write_into_the_page(stranger: Client) -> None:
    page = stranger.get("/docs", headers={"Host": 'x"><script>alert(1)</script>'}).text
    assert "<script" not in page


def test_an_api_process_stays_small(farm: Settings, logs: Path, described: Description, client: Client) -> None:
    with serving(farm, logs) as own, Client(own.url, described, client.key) as fresh:
        fresh.get("/docs")
        fresh.create("unserved")
        for _ in range(6):
            # What a body took is given back.
            fresh.ask("POST", "/v1/prediction", data=LARGE, headers={"Content-Type": "application/json"})
        children = Path(f"/proc/{own.process.pid}/task/{own.process.pid}/children").read_text().split()
        sizes = [_resident(int(child)) for child in children]
    assert len(sizes) == 2
    assert max(sizes) <= 100 * 1000, sizes


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


def _descendants(kind: type[FluxfarmError]) -> set[type[FluxfarmError]]:
    below = {each for child in kind.__subclasses__() for each in _descendants(child)}
    return {kind, *below}


def _text(page: str) -> str:
    pieces: list[str] = []
    parser = HTMLParser()
    parser.handle_data = pieces.append  # type: ignore[method-assign]
    parser.feed(page)
    return "".join(pieces)
