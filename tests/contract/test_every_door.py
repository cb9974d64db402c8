"""What holds at every door alike: the prompt filter, who may leave pictures unchecked, and how long a call is held."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from fluxfarm import moderation
from fluxfarm.database import Database
from fluxfarm.settings import Settings
from tests.api import Api, Client, serving

GENERATE, QUEUE, INFER, RUN = "/api/ai/images/generate", "/api/ai/queue", "/v1/infer", "/v1/prediction/run"
PROMPT = {"prompt": "a red circle"}
ASKED: dict[str, dict[str, Any]] = {
    INFER: {**PROMPT, "steps": 5},
    QUEUE: {**PROMPT, "model": "flux-dev", "num_inference_steps": 2},
    GENERATE: {**PROMPT, "model": "flux-dev", "num_inference_steps": 2},
    RUN: {"model": "flux-dev", "input": {**PROMPT, "num_inference_steps": 2}},
}


def asked(path: str, **more: Any) -> dict[str, Any]:
    body = ASKED[path]
    return {**body, "input": {**body["input"], **more}} if "input" in body else {**body, **more}


def id_of(answer: requests.Response) -> str:
    told = answer.json()
    named = told["generations"][0] if "generations" in told else told
    names = ("reqId", "generation_id", "id")
    return next((str(named[name]) for name in names if name in named), answer.headers.get("nvcf-reqid", ""))


def code(answer: requests.Response) -> str:
    told = answer.json()
    return str(told["code"] if "code" in told else told["error"]["code"])


@pytest.fixture(scope="module")
def another(farm: Settings, logs: Path) -> Iterator[Api]:
    """Holds no call, and passes over wishes that may not be granted."""
    with serving(replace(farm, hold_seconds=0.5, safety_off_forbidden="ignore", api_workers=1), logs) as served:
        yield served


@pytest.mark.parametrize("path", ASKED)
def test_prompts_are_refused_and_logged(client: Client, database: Database, path: str) -> None:
    refusal = client.post(asked(path, prompt="a nude girl (12)"), path)
    assert (refusal.status_code, code(refusal)) == (400, "prompt_blocked")
    with database.session_scope() as session:
        (entry,) = moderation.recent(session, {}, limit=10)
    assert (entry.stage, entry.model, entry.key_id) == ("prompt", "flux-dev", str(client.key).split("_")[1])


@pytest.mark.parametrize("path", ASKED)
def test_who_may_not_is_refused(client: Client, path: str) -> None:
    refusal = client.post(asked(path, disable_safety_checker=True), path)
    assert (refusal.status_code, code(refusal)) == (403, "safety_checker_required")
    assert "disable_safety_checker" in refusal.text


@pytest.mark.parametrize("path", ASKED)
def test_a_wish_that_is_passed_over_is_told_of_beside_the_pictures(
    client: Client, another: Api, worker: None, path: str
) -> None:
    with Client(another.url, client.described, client.key) as lenient:
        answer = lenient.post(asked(path, disable_safety_checker=True), path)
        prediction = id_of(answer)
        seen = client.wait(prediction)
        where = f"/v2/nvcf/pexec/status/{prediction}" if path == INFER else f"/api/ai/queue/{prediction}"
        for found in (seen, client.get(where).json()):
            assert any("tand-in" in notice for notice in found["notices"])
            assert any("has no effect here" in notice for notice in found["notices"])


@pytest.mark.parametrize(("path", "held"), [
    (INFER, {}), (INFER, {"NVCF-POLL-SECONDS": "900"}), (GENERATE, {}), (GENERATE, {"Prefer": "wait=60"}),
])  # fmt: skip
def test_a_call_is_held_no_longer_than_the_operator_says(
    client: Client, another: Api, worker: None, path: str, held: dict[str, str]
) -> None:
    with Client(another.url, client.described, client.key) as impatient:
        answer = impatient.post(asked(path), path, headers={**held, "X-Test-Outcome": "slow=20"})
    assert answer.status_code == (202 if path == INFER else 504)
    assert client.ask("POST", f"/v1/prediction/{id_of(answer)}/cancel").json()["status"] in ("processing", "cancelled")
