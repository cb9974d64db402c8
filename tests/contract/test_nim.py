"""NVIDIA's door: the three programs of its reference page, and what its containers answer."""

import ast
import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from fluxfarm.database import Database
from tests.api import Client
from tests.contract.conftest import NewClient

SAMPLES = Path(__file__).with_name("nim_samples")
GENAI, INFER, STATUS = "/v1/genai/black-forest-labs/flux.1-dev", "/v1/infer", "/v2/nvcf/pexec/status"
SENT = {
    "prompt": "a red circle",
    "mode": "",
    "image": "",
    "cfg_scale": 3.5,
    "width": 1024,
    "height": 1024,
    "seed": 0,
    "steps": 5,
}
HELD_SHORTLY = {"NVCF-POLL-SECONDS": "0"}


def filled(name: str, client: Client) -> str:
    """A program as it is printed, with host, key and blanks filled in; `mode` and `image` stay blank."""
    program = (SAMPLES / f"{name}.printed").read_text()
    for printed, meant in {
        "https://ai.api.nvidia.com": client.url,
        "$NVIDIA_API_KEY": str(client.key),
        '"prompt": ""': '"prompt": "a red circle"',
        '"cfg_scale": ': '"cfg_scale": 3.5',
        '"seed": ': '"seed": 7',
        '"steps": ': '"steps": 5',
    }.items():
        assert printed in program
        program = program.replace(printed, meant)
    return program


def ran(*words: str, **more: Any) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, **more).stdout


def opened(artifact: dict[str, Any]) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(artifact["base64"])))
    assert image.format == "JPEG"
    return image


def wrong(answer: requests.Response) -> dict[str, str]:
    told = answer.json()
    assert (answer.status_code, told["code"], told["title"]) == (422, "invalid_input", "Unprocessable Entity"), told
    assert all(each["loc"][0] == "body" for each in told["detail"])
    return {".".join(each["loc"][1:]): each["msg"] for each in told["detail"]}


def test_the_program_for_python(client: Client, worker: None) -> None:
    told = ast.literal_eval(ran(sys.executable, "-c", filled("post.py", client)))
    (artifact,) = told["artifacts"]
    assert (artifact["finishReason"], artifact["seed"]) == ("SUCCESS", 7)
    with opened(artifact) as image:
        assert image.width == image.height


def test_the_program_for_curl(client: Client, worker: None) -> None:
    # What it prints is each line of the answer that holds a brace.
    (artifact,) = json.loads(ran("bash", "-c", filled("curl.sh", client)))["artifacts"]
    assert opened(artifact).width


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine; its program is checked")
def test_the_program_for_node(client: Client, worker: None, tmp_path: Path) -> None:
    """`node-fetch` is stood in for by node's own fetch."""
    package = tmp_path / "node_modules/node-fetch"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "node-fetch", "type": "module", "main": "index.js"}')
    (package / "index.js").write_text("export default globalThis.fetch")
    (tmp_path / "sample.mjs").write_text(filled("fetch.mjs", client))
    (artifact,) = json.loads(ran("node", "sample.mjs", cwd=tmp_path, env={**os.environ}))["artifacts"]
    assert opened(artifact).width


def test_the_program_for_node_asks_what_the_others_ask(client: Client) -> None:
    payloads = []
    for name in ("post.py", "curl.sh", "fetch.mjs"):
        body = re.search(r'\{\s*"prompt".*?\}', filled(name, client), re.DOTALL)
        assert body is not None
        payloads.append(json.loads(body[0]))
    assert payloads[0] == payloads[1] == payloads[2]
    assert "response.status != 200" in (SAMPLES / "fetch.mjs.printed").read_text()


@pytest.mark.parametrize("path", [GENAI, INFER, "/v1/genai/black-forest-labs/FLUX.1-dev", "/v1/genai/some/flux.1-dev"])
def test_every_way_in(client: Client, worker: None, path: str) -> None:
    answer = client.post({**SENT, "samples": 2, "seed": 9}, path)
    if path.startswith("/v1/genai/some"):
        assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
        assert "flux-dev" in answer.json()["detail"]
        return
    assert answer.status_code == 200, answer.text
    assert [each["seed"] for each in answer.json()["artifacts"]] == [9, 10]
    assert answer.headers["nvcf-status"] == "fulfilled"
    assert client.look(answer.headers["nvcf-reqid"])["status"] == "success"


@pytest.mark.parametrize("sides", [(1024, 1024), (768, 1344), (1344, 768), (1216, 832), (832, 1280)])
def test_documented_sizes(client: Client, sides: tuple[int, int]) -> None:
    answer = client.post({**SENT, "width": sides[0], "height": sides[1]}, GENAI, headers=HELD_SHORTLY)
    assert answer.status_code in (200, 202)
    found = client.look(answer.headers["nvcf-reqid"])["input"]
    assert (found["width"], found["height"], found["output_format"]) == (*sides, "jpg")


def test_the_least_that_can_be_sent(client: Client) -> None:
    for body in ({"prompt": "a fox"}, {"text_prompts": [{"text": "a fox", "weight": 1}]}):
        answer = client.post(body, INFER, headers=HELD_SHORTLY)
        found = client.look(answer.headers["nvcf-reqid"])["input"]
        assert (found["prompt"], found["width"], found["height"]) == ("a fox", 1024, 1024)
        assert (found["num_inference_steps"], found["guidance"]) == (50, 3.5)


def test_a_seed_of_0_is_another_each_time(client: Client, worker: None) -> None:
    answers = [client.post({**SENT, "seed": seed}, INFER).json() for seed in (0, 0, "0")]
    assert len({each["artifacts"][0]["seed"] for each in answers} - {0}) == 3


def test_what_takes_longer_is_polled(client: Client, database: Database, farm: Any) -> None:
    answer = client.post({**SENT, "steps": 100}, GENAI, headers={**HELD_SHORTLY, "X-Test-Outcome": "slow=2"})
    reference = answer.headers["nvcf-reqid"]
    assert (answer.status_code, answer.json()) == (202, {"reqId": reference})
    assert int(answer.headers["Retry-After"]) >= 1
    again = client.get(f"{STATUS}/{reference}", headers=HELD_SHORTLY)
    assert (again.status_code, again.headers["nvcf-status"]) == (202, "pending-evaluation")
    client.ask("POST", f"/v1/prediction/{reference}/cancel")
    ended = client.get(f"{STATUS}/{reference}")
    assert (ended.status_code, ended.json()["code"]) == (409, "cancelled")
    assert client.get(f"{STATUS}/nothing").status_code == 404


def test_what_came_by_this_door_can_be_asked_for_again_at_another(client: Client) -> None:
    answer = client.post({**SENT, "steps": 100}, GENAI, headers=HELD_SHORTLY)
    again = client.post({}, f"/v1/prediction/{answer.headers['nvcf-reqid']}/again")
    assert again.status_code == 200, again.text
    assert client.look(again.json()["predictionID"])["input"]["num_inference_steps"] == 100


def test_the_model_counts_where_a_call_is_known_again(client: Client) -> None:
    known = {**HELD_SHORTLY, "Idempotency-Key": "fox"}
    first, second = (client.post(SENT, GENAI, headers=known) for _ in range(2))
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["nvcf-reqid"] == first.headers["nvcf-reqid"]
    other = client.post(SENT, "/v1/genai/some/unserved", headers=known)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_polled_to_the_picture(client: Client, worker: None) -> None:
    answer = client.post(SENT, GENAI, headers={**HELD_SHORTLY, "X-Test-Outcome": "slow=0.5"})
    assert answer.status_code == 202
    ended = client.get(f"{STATUS}/{answer.headers['nvcf-reqid']}")
    assert (ended.status_code, ended.headers["nvcf-status"]) == (200, "fulfilled")
    assert opened(ended.json()["artifacts"][0]).width


def test_what_is_withheld_is_black(client: Client, worker: None) -> None:
    answer = client.post({**SENT, "samples": 2}, GENAI, headers={"X-Test-Outcome": "content_blocked"})
    assert answer.status_code == 200
    artifacts = answer.json()["artifacts"]
    assert [each["finishReason"] for each in artifacts] == ["CONTENT_FILTERED"] * 2
    with opened(artifacts[0]) as image:
        assert image.getextrema() == ((0, 0),) * 3


def test_a_failure_is_told(client: Client, worker: None) -> None:
    answer = client.post(SENT, GENAI, headers={"X-Test-Outcome": "error=input_missing"})
    assert (answer.status_code, answer.json()["code"]) == (422, "input_missing")
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"prompt"}),
        ({**SENT, "prompt": ""}, {"prompt"}),
        ({**SENT, "steps": 4, "cfg_scale": 9.1, "width": 1000}, {"steps", "cfg_scale", "width"}),
        ({**SENT, "mode": "sketch"}, {"mode"}),
        ({**SENT, "image": "data:image/png;example_id,0"}, {"image"}),
        ({**SENT, "mode": "base", "preprocess_image": "yes"}, {"preprocess_image"}),
        ({**SENT, "num_inference_steps": 5}, {"num_inference_steps"}),
        ({**SENT, "seed": 2**32, "samples": 0}, {"seed", "samples"}),
        ({"text_prompts": "a fox"}, {"text_prompts", "prompt"}),
        ({"text_prompts": [{"text": "a fox"}, {"text": "snow", "weight": -1}]}, {"text_prompts", "prompt"}),
    ],
)
def test_wrong_fields_are_named(client: Client, body: dict[str, Any], fields: set[str]) -> None:
    assert wrong(client.post(body, GENAI)).keys() == fields


def test_refusals(client: Client, stranger: Client, new_client: NewClient) -> None:
    assert stranger.post(SENT, INFER).status_code == 401
    assert new_client(scopes=("predict",)).post(SENT, INFER).json()["code"] == "forbidden"
    assert "NVCF-POLL-SECONDS" in wrong(client.post(SENT, INFER, headers={"NVCF-POLL-SECONDS": "soon"}))
    answer = client.post({**SENT, "disable_safety_checker": True}, INFER)
    assert (answer.status_code, answer.json()["code"]) == (403, "safety_checker_required")
    limited = new_client(creates_per_minute=1)
    limited.post(SENT, INFER, headers=HELD_SHORTLY)
    answer = limited.post(SENT, INFER, headers=HELD_SHORTLY)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert isinstance(answer.json()["detail"], str)
    assert int(answer.headers["Retry-After"]) >= 1


def test_health_and_what_it_serves(stranger: Client, worker: None, database: Database, farm: Any) -> None:
    assert stranger.get("/v1/health/live").json()["status"] == "live"
    assert stranger.get("/v1/health/ready").json()["status"] == "ready"
    assert stranger.get("/v1/version").json()["api"] == "1.0.0"
    models = stranger.get("/v1/metadata").json()["modelInfo"]
    assert [each["shortName"] for each in models] == ["flux-dev", "unserved"]
    assert models[0]["request_schema"]["properties"]["steps"]["maximum"] == 100
    metrics = stranger.get("/v1/metrics")
    assert 'fluxfarm_workers{model="flux-dev"} 1' in metrics.text
    assert 'fluxfarm_predictions{model="unserved",status="queued"} 0' in metrics.text
