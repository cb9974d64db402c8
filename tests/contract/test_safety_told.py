"""Who may leave pictures unchecked, and how that is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fluxfarm import moderation, tenants
from fluxfarm.database import Database
from fluxfarm.safety_policy import SCOPE
from fluxfarm.settings import Settings
from tests.api import Api, Client, serving
from tests.contract.conftest import NewClient
from tests.contract.played import PlayedWorker, picture
from tests.contract.test_dry_run import dry

MAY = ("predict", "read", SCOPE)


def test_only_a_key_that_may_leaves_pictures_unchecked(new_client: NewClient) -> None:
    client = new_client(scopes=MAY)
    checked = client.look(client.create("unserved"))
    assert checked["safety"] == {"policy": "default_on", "set_by": "deployment", "checked": True}
    unchecked = client.look(client.create("unserved", disable_safety_checker=True))
    assert unchecked["safety"]["checked"] is False
    refusal = new_client().try_create("unserved", disable_safety_checker=True)
    assert (refusal.status_code, refusal.json()["code"]) == (403, "safety_checker_required")


def test_a_stricter_tenant_or_key_beats_the_scope(new_client: NewClient, database: Database) -> None:
    of_key, of_tenant = new_client(scopes=MAY, safety="enforced"), new_client("studio", scopes=MAY)
    with database.session_scope() as session:
        tenants.change(session, "studio", {"safety": "enforced"}, by="test")
    for client, who in ((of_key, "key"), (of_tenant, "tenant")):
        answer = client.try_create("unserved", disable_safety_checker=True)
        assert answer.status_code == 403
        refusal = answer.json()
        assert refusal["code"] == "safety_checker_required"
        assert f"by the {who}'s policy" in refusal["error"]
        assert client.look(client.create("unserved"))["safety"]["set_by"] == who


def test_a_milder_tenant_changes_nothing(new_client: NewClient, database: Database) -> None:
    client = new_client("studio", safety="off_allowed")
    with database.session_scope() as session:
        tenants.change(session, "studio", {"safety": "off_allowed"}, by="test")
    assert client.try_create("unserved", disable_safety_checker=True).status_code == 403


@pytest.fixture(scope="module")
def lenient(farm: Settings, logs: Path) -> Iterator[Api]:
    """Passes over wishes that may not be granted."""
    with serving(replace(farm, safety_off_forbidden="ignore"), logs) as served:
        yield served


def test_an_operator_may_pass_over_such_wishes(lenient: Api, new_client: NewClient) -> None:
    strict = new_client()
    with Client(lenient.url, strict.described, strict.key) as client:
        found = client.look(client.create("unserved", disable_safety_checker=True))
        assert found["safety"]["checked"] is True
        assert found["notices"][-1].startswith("disable_safety_checker has no effect here")
        assert dry(client, disable_safety_checker=True)["notices"][-1] == found["notices"][-1]


def test_a_withheld_picture_is_told_of_in_its_place(client: Client, database: Database, farm: Settings) -> None:
    played = PlayedWorker(database, farm)
    prediction = client.create("unserved", num_outputs=3, seed=5)
    played.succeed(played.claim(), picture(), None, picture())
    found = client.look(prediction)
    assert found["status"] == "success"
    assert [image["withheld"] for image in found["images"]] == [False, True, False]
    assert [image["seed"] for image in found["images"]] == [5, 6, 7]
    assert found["output"] == [found["images"][place]["url"] for place in (0, 2)]
    withheld = found["images"][1]
    told = {name: withheld.pop(name) for name in [*withheld] if name.startswith("safety")}
    assert told == {
        "safety": "flagged",
        "safety_reason": "nsfw",
        "safety_score": 0.97,
        "safety_checker": "eye@1",
    }
    assert {name for name, value in withheld.items() if value is not None} == {"withheld", "seed"}


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_prompt_that_is_not_drawn_here_is_refused_and_logged(
    new_client: NewClient,
    database: Database,
    dry_run: bool,  # noqa: FBT001
) -> None:
    client, asked = new_client("studio"), {"model": "unserved", "input": {"prompt": "a n-u-d-e ch1ld", "seed": 4}}
    refusal = client.post(asked, "/v1/prediction" + ("?dry_run=1" if dry_run else ""))
    assert (refusal.status_code, refusal.json()["code"]) == (400, "prompt_blocked")
    assert "ch1ld" not in refusal.text
    with database.session_scope() as session:
        (entry,) = moderation.recent(session, {}, limit=10)
    assert (entry.stage, entry.what, entry.verdict, entry.withheld) == ("prompt", "prompt", "flagged", True)
    assert (entry.tenant, entry.prediction_id) == ("studio", None)
    assert entry.label is not None
    assert entry.label.startswith("blocked_prompts.txt:")
    may = new_client(scopes=MAY)
    assert may.try_create("unserved", prompt="a nude child", disable_safety_checker=True).status_code == 200
