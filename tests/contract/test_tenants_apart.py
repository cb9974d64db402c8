"""Two tenants, every endpoint that takes an id: what is another's is unknown, to the byte."""

import re

import pytest

from tests.api import Client
from tests.contract.conftest import NewClient

UNKNOWN = "00000000-0000-4000-8000-000000000000"
KEYED = {
    ("get", "/v1/prediction/{prediction}"),
    ("post", "/v1/prediction/{prediction}/cancel"),
    ("post", "/v1/prediction/{prediction}/again"),
    ("delete", "/v1/prediction/{prediction}"),
    ("get", "/v1/prediction/{prediction}/events"),
    ("get", "/api/ai/queue/{generation}"),
    ("delete", "/api/ai/queue/{generation}"),
    ("get", "/v2/nvcf/pexec/status/{prediction}"),
}
OPEN = {
    ("get", "/"),
    ("get", "/docs"),
    ("get", "/healthz"),
    ("get", "/openapi.json"),
    ("get", "/readyz"),
    ("get", "/v1/model"),
    ("get", "/v1/models"),
    ("get", "/files/{prediction}/{name}"),  # by signature alone
    ("get", "/api/ai/models"),
    ("get", "/api/ai/models/search"),
    ("get", "/api/ai/models/{name}"),
    ("get", "/v1/health/live"),
    ("get", "/v1/health/ready"),
    ("get", "/v1/metadata"),
    ("get", "/v1/metrics"),
    ("get", "/v1/version"),
}
LISTS = {
    ("get", "/v1/executions"),
    ("get", "/v1/events"),
    ("get", "/api/ai/queue"),
    ("get", "/api/ai/generations"),
    ("get", "/api/events"),
}
"""Each tenant's, or key's, own: see `test_executions.py`, `test_events.py` and `test_oxen.py`."""
CREATES = {
    ("post", "/v1/prediction"),
    ("post", "/v1/prediction/"),
    ("post", "/v1/prediction/run"),
    ("put", "/v1/prediction/{prediction}"),
    ("post", "/api/ai/images/generate"),
    ("post", "/api/ai/images/edit"),
    ("post", "/api/ai/queue"),
    ("post", "/v1/infer"),
    ("post", "/v1/genai/{publisher}/{name}"),
}
"""Another's id is no one's here, and may be taken: see `test_retries.py`."""


def test_the_matrix_holds_every_endpoint(client: Client) -> None:
    paths = client.described.document["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} == KEYED | OPEN | LISTS | CREATES


@pytest.mark.parametrize(("method", "path"), sorted(KEYED))
def test_anothers_prediction_is_unknown(new_client: NewClient, method: str, path: str) -> None:
    owner, other = new_client(), new_client()
    prediction = owner.create(model="unserved", prompt="a secret lighthouse")
    foreign, unknown, nonsense = (
        other.ask(method, re.sub(r"\{\w+\}", each, path)) for each in (prediction, UNKNOWN, "x" * 36)
    )
    assert foreign.status_code == unknown.status_code == nonsense.status_code == 404
    assert foreign.content == unknown.content == nonsense.content
    names = {"Date", "X-Request-Id", "RateLimit-Remaining", "RateLimit-Reset"}
    kept = [{name: value for name, value in each.headers.items() if name not in names} for each in (foreign, unknown)]
    assert kept[0] == kept[1]
    assert owner.look(prediction)["status"] == "starting"


def test_what_is_public_tells_nothing_of_anybody(new_client: NewClient, stranger: Client) -> None:
    owner = new_client()
    prediction = owner.create(model="unserved", prompt="a secret lighthouse")
    for method, path in sorted(OPEN):
        answer = stranger.ask(method, path.format(prediction=prediction, name="0.webp"))
        assert "secret lighthouse" not in answer.text
        if not path.startswith("/files"):
            assert prediction not in answer.text
    assert stranger.get(f"/files/{prediction}/0.webp").status_code == 403
