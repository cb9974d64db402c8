"""What a client's program can be tried on: ends that the header X-Test-Outcome brings about on stand-in weights."""

from datetime import datetime

import pytest

from tests.api import Client, until

pytestmark = pytest.mark.usefixtures("worker")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("content_blocked", "content_blocked"),
        ("worker_lost", "worker_lost"),
        ("error=queue_timeout", "queue_timeout"),
        ("error=content_blocked", "content_blocked"),
    ],
)
def test_a_failure_is_brought_about(client: Client, sent: str, code: str) -> None:
    ended = client.wait(client.create(headers={"X-Test-Outcome": sent}))
    assert (ended["status"], ended["error_code"], ended["output"]) == ("error", code, None)
    assert "X-Test-Outcome" in ended["error"]


def test_slowness_is_brought_about(client: Client) -> None:
    ended = client.wait(client.create(headers={"X-Test-Outcome": "slow=0.7"}))
    began, came = (datetime.fromisoformat(ended[name]) for name in ("started_at", "completed_at"))
    assert ended["status"] == "success"
    assert (came - began).total_seconds() >= 0.7


def test_what_is_slow_can_be_cancelled(client: Client) -> None:
    prediction = client.create(headers={"X-Test-Outcome": "slow=600"})
    until(lambda: client.look(prediction)["status"] == "processing", lambda: "it never began")
    client.post({}, f"/v1/prediction/{prediction}/cancel")
    assert client.wait(prediction)["status"] == "cancelled"


@pytest.mark.parametrize(
    "sent", ["error", "error=", "error=unheard_of", "slow", "slow=601", "slow=-1", "queue_timeout"]
)
def test_an_unknown_outcome_is_refused(client: Client, sent: str) -> None:
    refused = client.try_create(headers={"X-Test-Outcome": sent})
    assert refused.status_code == 400
    assert refused.json()["details"][0]["field"] == "X-Test-Outcome"
    assert "slow=SECONDS" in refused.json()["error"]
