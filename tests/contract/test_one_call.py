"""Create and wait in one call."""

import pytest

from fluxfarm.database import Database
from tests.api import Client
from tests.contract.conftest import NewClient

RUN = "/v1/prediction/run"
ASKED = {"model": "flux-dev", "input": {"prompt": "a red circle", "num_inference_steps": 2}}
WAITING = {"model": "unserved", "input": {"prompt": "a red circle"}}
PREFERRED = {"Prefer": "wait"}


def test_the_answer_is_the_finished_prediction(client: Client, worker: None) -> None:
    for answer in (client.post(ASKED, RUN), client.post(ASKED, headers=PREFERRED)):
        assert answer.status_code == 200
        found = answer.json()
        assert found["status"] == "success"
        assert client.get(found["output"]).content
        again = client.get(f"/v1/prediction/{found['id']}")
        assert (again.json(), again.headers["ETag"]) == (found, answer.headers["ETag"])


def test_what_takes_longer_is_answered_as_a_create_is(client: Client) -> None:
    ordinary = client.post(WAITING)
    for answer in (client.post(WAITING, f"{RUN}?wait=1"), client.post(WAITING, headers={"Prefer": "wait=0"})):
        assert (ordinary.status_code, answer.status_code) == (200, 202)
        assert answer.json().keys() == ordinary.json().keys()
        assert int(answer.headers["Retry-After"]) >= 1
        assert int(answer.headers["X-Concurrency-Limit"]) > 0
        assert client.look(answer.json()["predictionID"])["status"] == "starting"


def test_a_failure_is_an_answer_too(client: Client, worker: None) -> None:
    answer = client.post(ASKED, RUN, headers={"X-Test-Outcome": "error=input_missing"})
    assert (answer.status_code, answer.json()["status"]) == (200, "error")


@pytest.mark.parametrize("query", ["wait=soon", "wait=-1"])
def test_nothing_is_created_by_what_is_refused(client: Client, database: Database, query: str) -> None:
    assert client.post(WAITING, f"{RUN}?{query}").status_code == 400
    assert client.post({"model": "unserved"}, RUN).status_code == 400
    assert int(client.post(WAITING).headers["X-Concurrency-Remaining"]) == 999


def test_it_takes_both_scopes(new_client: NewClient) -> None:
    blind, mute = new_client(scopes=("predict",)), new_client(scopes=("read",))
    for client, lacking in ((blind, "read"), (mute, "predict")):
        answer = client.post(WAITING, RUN)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert lacking in answer.json()["error"]
    assert blind.post(WAITING).status_code == 200


def test_a_preference_of_a_key_that_may_not_read_is_left_aside(new_client: NewClient) -> None:
    blind = new_client(scopes=("predict",))
    assert blind.post(WAITING, headers={"Prefer": "wait=60"}).status_code == 200


def test_who_asks_is_looked_at_before_what_is_asked(stranger: Client) -> None:
    assert stranger.post(WAITING, f"{RUN}?wait=soon").status_code == 401
