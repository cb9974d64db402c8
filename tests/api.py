"""The API and its worker as real processes, and a client that holds every answer to the API's own description."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import requests
from jsonschema import Draft202012Validator, FormatChecker
from requests.adapters import HTTPAdapter

from fluxfarm.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
ENDS = ("success", "error", "cancelled")
PATIENCE_SECONDS = 60
OF_EVERY_SERVER = frozenset({"Server", "Date", "Connection", "Content-Type", "Content-Length", "Transfer-Encoding"})


def environment(settings: Settings) -> dict[str, str]:
    """The variables that make another process read these settings."""
    told = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        if value != each.default:
            told[PREFIX + each.name.upper()] = _written(value)
    return {**told, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join("=".join(each) if isinstance(each, tuple) else str(each) for each in value)
    return str(value)


@contextmanager
def running(
    *words: str, settings: Settings, log: Path, stop: signal.Signals = signal.SIGTERM, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m words…` for as long as the block runs, with what it says in the file `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, env=environment(settings), stdout=output, stderr=output, **options
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(true: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait until it is true, or fail and tell what `otherwise` says."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Api:
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    port: int


@contextmanager
def serving(settings: Settings, directory: Path, app: str = "api.wsgi:app") -> Iterator[Api]:
    """gunicorn as `fluxfarm up` starts it, on a socket that listens already: what is asked early, waits."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    log = directory / f"api-{port}.log"
    words = ("gunicorn", "-c", "python:api.gunicorn_conf", app, "--bind", f"fd://{listener.fileno()}")
    # Graceful stops are tried elsewhere, and take seconds.
    quick = {"stop": signal.SIGQUIT, "pass_fds": (listener.fileno(),)}
    with running(*words, settings=settings, log=log, **quick) as process:
        listener.close()
        yield Api(f"http://127.0.0.1:{port}", process, log, port)


@dataclass
class Client:
    """Sends requests over one connection; every answer must be one that `/openapi.json` allows."""

    url: str
    described: "Description"
    key: str | None = None
    source: str = "127.0.0.1"
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.mount("http://", _From(self.source))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.session.close()

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        sent = {} if self.key is None else {"X-API-Key": self.key}
        url = path if path.startswith("http") else self.url + path
        more = {"allow_redirects": False, "timeout": 30, **more}
        response = self.session.request(method, url, headers={**sent, **(headers or {})}, **more)
        self.described.check(response)
        return response

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.ask("GET", path, **more)

    def post(self, body: Any, path: str = "/v1/prediction", **more: Any) -> requests.Response:
        return self.ask("POST", path, json=body, **more)

    def try_create(
        self, model: str = "flux-dev", headers: dict[str, str] | None = None, **sent: Any
    ) -> requests.Response:
        """Two steps only, unless others were asked for."""
        asked = {"prompt": "a red circle", "num_inference_steps": 2, **sent}
        return self.post({"model": model, "input": asked}, headers=headers)

    def create(self, model: str = "flux-dev", headers: dict[str, str] | None = None, **sent: Any) -> str:
        response = self.try_create(model, headers, **sent)
        assert response.status_code == 200, response.text
        return str(response.json()["predictionID"])

    def look(self, prediction: str) -> dict[str, Any]:
        response = self.get(f"/v1/prediction/{prediction}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def wait(self, prediction: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.look(prediction))
            return found["status"] in ENDS

        until(ended, lambda: f"it did not end: {found}")
        return found

    def render(self, **sent: Any) -> dict[str, Any]:
        """Create a prediction and wait until it has succeeded."""
        found = self.wait(self.create(**sent))
        assert found["status"] == "success", found
        return found


class _From(HTTPAdapter):
    """Connects from an address of ours."""

    def __init__(self, source: str) -> None:
        self._source = source
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, source_address=(self._source, 0))


class Description:
    """What `/openapi.json` says."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @classmethod
    def of(cls, url: str) -> Self:
        with requests.get(f"{url}/openapi.json", timeout=PATIENCE_SECONDS) as response:
            return cls(response.json())

    @cached_property
    def _paths(self) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
        return [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), methods)
            for path, methods in self.document["paths"].items()
        ]

    def check(self, response: requests.Response) -> None:
        """Fail unless the document allows this answer to its request: status, headers, body."""
        expected = self._expected(response)
        described = {*expected.get("headers", {}), *OF_EVERY_SERVER}
        assert not {*response.headers} - described, f"undescribed headers { ({*response.headers} - described) }"
        assert response.headers["X-Request-Id"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        content = expected.get("content")
        if content is None or response.request.method == "HEAD":
            assert not response.content
            return
        media_type = response.headers["Content-Type"].partition(";")[0]
        assert media_type in content, f"{response.status_code} is {media_type}: {response.content[:500]!r}"
        if "schema" in content[media_type]:
            self.validate(response.json(), content[media_type]["schema"])
        if response.status_code >= 400 and (code := _code(response.json())):
            assert f"`{code}`" in expected.get("description", f"`{code}`"), f"undescribed: {response.text}"

    def validate(self, instance: Any, schema: dict[str, Any]) -> None:
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(instance)

    def _expected(self, response: requests.Response) -> dict[str, Any]:
        request = response.request
        assert request.url is not None
        path = "/" + request.url.partition("://")[2].partition("/")[2].partition("?")[0].lstrip("/")
        methods = next((found for pattern, found in self._paths if pattern.fullmatch(path)), {})
        method = "get" if request.method == "HEAD" else str(request.method).lower()
        if method == "options" and response.status_code == 200:
            return {"headers": ["Allow", "X-Request-Id", "X-Content-Type-Options", "Cache-Control"]}
        if method not in methods:
            assert response.status_code in ({404, 405} if methods else {404}), f"{request.method} {path}"
            return _refusal("Allow")
        answers = methods[method]["responses"]
        assert str(response.status_code) in answers, f"{request.method} {path}: {response.status_code} {response.text}"
        expected: dict[str, Any] = answers[str(response.status_code)]
        return expected


def _code(told: dict[str, Any]) -> str | None:
    """Of a refusal in the shape of any door; what says how things are has none."""
    within = told.get("error")
    found: str | None = within.get("code") if isinstance(within, dict) else told.get("code")
    return found


def _refusal(*headers: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"headers": ["X-Request-Id", "X-Content-Type-Options", "Cache-Control", *headers], "content": content}
