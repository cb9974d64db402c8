"""`DELETE /v1/prediction/<id>`: gone with its pictures, now."""

import uuid
from typing import Any

from sqlalchemy import text

from fluxfarm.database import Database
from fluxfarm.safety_policy import SCOPE
from fluxfarm.settings import Settings
from fluxfarm.storage import LocalStore
from tests.api import Client
from tests.contract.conftest import NewClient
from tests.contract.test_retries import put, with_picture

MAY = ("predict", "read", "cancel", SCOPE)


def unchecked() -> dict[str, Any]:
    """With a picture that can be read at once."""
    return with_picture(disable_safety_checker=True)


def delete(client: Client, prediction: object) -> int:
    return client.ask("DELETE", f"/v1/prediction/{prediction}").status_code


def test_a_finished_one_goes_with_its_pictures(client: Client, stranger: Client, worker: None, farm: Settings) -> None:
    rendered = client.render()
    store = LocalStore(farm.data_dir / "objects")
    assert any(rendered["id"] in key for key in store.keys("tenants/"))
    assert delete(client, rendered["id"]) == 200
    assert not any(rendered["id"] in key for key in store.keys("tenants/"))
    assert client.get(f"/v1/prediction/{rendered['id']}").status_code == 404
    assert stranger.get(rendered["output"]).status_code == 404
    assert delete(client, rendered["id"]) == 200


def test_one_that_was_cancelled_goes_with_the_picture_that_it_was_sent(
    new_client: NewClient, stranger: Client, farm: Settings
) -> None:
    client, sent = new_client(scopes=MAY), unchecked()
    store = LocalStore(farm.data_dir / "objects")
    before, own_id = set(store.keys("tenants/")), uuid.uuid4()
    put(client, own_id, sent)
    link = client.look(str(own_id))["input"]["image"]
    assert stranger.get(link).status_code == 200
    client.post(None, f"/v1/prediction/{own_id}/cancel")
    assert delete(client, own_id) == 200
    assert not set(store.keys("tenants/")) - before
    assert stranger.get(link).status_code == 404


def test_an_old_link_does_not_open_what_its_owner_calls_so_later(
    new_client: NewClient, stranger: Client, database: Database
) -> None:
    client, own_id, links = new_client(scopes=MAY), uuid.uuid4(), []
    for _ in range(2):
        assert put(client, own_id, unchecked()).status_code == 200
        links.append(client.look(str(own_id))["input"]["image"])
        assert stranger.get(links[-1]).status_code == 200
        client.post(None, f"/v1/prediction/{own_id}/cancel")
        if len(links) == 1:
            assert delete(client, own_id) == 200
            with database.session_scope() as session:  # as after a day
                session.execute(text("DELETE FROM remembered"))
                session.execute(text("DELETE FROM predictions"))
    assert [stranger.get(link).status_code for link in links] == [404, 200]


def test_a_key_that_may_not_cancel_may_not_delete(new_client: NewClient) -> None:
    client, bounded = new_client("studio"), new_client("studio", scopes=["predict", "read"])
    prediction = bounded.create("unserved")
    client.post(None, f"/v1/prediction/{prediction}/cancel")
    assert delete(bounded, prediction) == 403
    assert delete(client, prediction) == 200


def test_an_unfinished_one_is_refused_in_words_that_help(client: Client) -> None:
    prediction = client.create("unserved")
    response = client.ask("DELETE", f"/v1/prediction/{prediction}")
    assert (response.status_code, response.json()["code"]) == (409, "not_finished")
    assert "cancel" in response.json()["error"]
    assert client.look(prediction)["status"] == "starting"
