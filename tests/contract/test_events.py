"""Events of a prediction, and of all of a key, as a plain client follows them."""

import dataclasses
import itertools
import signal
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from fluxfarm import keys, tenants
from fluxfarm.announce import key_events, prediction_events
from fluxfarm.credentials import split
from fluxfarm.database import Database
from fluxfarm.links import LinkSigner, load_secrets
from fluxfarm.queue import redis_client
from fluxfarm.settings import Settings
from tests.api import Client, serving, until
from tests.contract.conftest import NewClient
from tests.contract.followed import Heard, Reader
from tests.contract.played import PlayedWorker, Telling, picture
from tests.servers import free_port

STEPS = 5


def events(client: Client, prediction: str) -> str:
    return f"{client.url}/v1/prediction/{prediction}/events"


def names(heard: list[Any]) -> list[str]:
    return [each.name for each in heard]


def test_a_render_is_followed_step_by_step(client: Client, worker: None) -> None:
    created = client.try_create(num_inference_steps=4, num_outputs=2, seed=7).json()
    with Reader(created["urls"]["events"]) as reader:
        heard = reader.until("succeeded") + reader.rest()
    steps = [(each.data["image"], each.data["step"]) for each in heard if each.name == "progress"]
    assert steps == list(itertools.product((1, 2), (1, 2, 3, 4)))
    assert [each.data["line"] for each in heard if each.name == "log"] == ["Using seed: 7", "Using seed: 8"]
    assert [each for each in names(heard) if each not in ("queued", "progress", "log")] == ["started", "succeeded"]
    assert heard[-1].data == client.look(created["predictionID"])
    assert {each.data["id"] for each in heard} == {created["predictionID"]}
    assert len({each.id for each in heard}) == len(heard)


def test_one_that_its_client_named_is_told_of_by_that_name(client: Client, telling: Telling) -> None:
    name = str(uuid.uuid4())
    asked = {"model": "unserved", "input": {"prompt": "x", "num_inference_steps": STEPS}}
    created = client.ask("PUT", f"/v1/prediction/{name}", json=asked).json()
    with (
        Reader(created["urls"]["events"]) as by_link,
        Reader(events(client, name), key=client.key) as by_key,
        Reader(f"{client.url}/v1/events", key=client.key) as of_all,
    ):
        heard = [by_link.next(), by_key.next()]
        assert of_all.next().data["predictions"] == [{"id": name, "status": "starting"}]
        held = telling.claim()
        telling.make_step(held, 1, steps=STEPS)
        telling.succeed(held, picture())
        heard += by_link.rest() + by_key.rest() + of_all.until("succeeded")
    assert {each.data["id"] for each in heard} == {name}
    assert [names(heard).count(word) for word in ("queued", "started", "progress", "succeeded")] == [2, 3, 3, 3]


def test_a_place_in_the_queue_is_told_anew_when_it_changes(client: Client, telling: Telling) -> None:
    ahead, prediction = client.create("unserved"), client.create("unserved")
    with Reader(events(client, prediction), key=client.key) as reader:
        first = seen_queued(reader, 2)
        client.ask("POST", f"/v1/prediction/{ahead}/cancel")
        second = reader.next()
        with Reader(events(client, prediction), key=client.key, last=second.id) as again:
            client.ask("POST", f"/v1/prediction/{prediction}/cancel")
            assert names(again.rest()) == ["cancelled"]
        assert names(reader.rest()) == ["cancelled"]
    assert [(each.name, each.data["position"]) for each in (first, second)] == [("queued", 2), ("queued", 1)]
    assert (first.data["eta_seconds"], first.data["waiting_for"]) == (None, "worker")


def seen_queued(reader: Reader, position: int) -> Heard:
    """The first event with that place: the queue that a process last saw may be older than the prediction."""
    event = reader.next()
    while event.data["position"] != position:
        event = reader.next()
    return event


def test_one_of_a_suspended_tenant_says_what_it_waits_for(client: Client, telling: Telling, database: Database) -> None:
    prediction = client.create("unserved")
    with Reader(events(client, prediction), key=client.key) as reader:
        heard = [seen_queued(reader, 1)]
        with database.session_scope() as session:
            tenants.suspend(session, "tenant 0", by="test")
        heard += [reader.next()]
        seen = client.look(prediction)["queue"]
        with database.session_scope() as session:
            tenants.resume(session, "tenant 0", by="test")
        heard += [reader.next()]
    assert [(each.name, each.data["position"], each.data["waiting_for"]) for each in heard] == [
        ("queued", 1, "worker"),
        ("queued", None, "tenant"),
        ("queued", 1, "worker"),
    ]
    assert seen == {"position": None, "eta_seconds": None, "waiting_for": "tenant"}


def test_who_is_cut_off_goes_on_without_a_gap_or_a_double(client: Client, telling: Telling) -> None:
    prediction = client.create("unserved", num_inference_steps=STEPS)
    heard = []
    with Reader(events(client, prediction), key=client.key) as reader:
        heard.append(reader.next())
        held = telling.claim()
        telling.make_step(held, 1, steps=STEPS)
        heard += reader.until("progress")
    for step in range(2, STEPS + 1):
        # While nobody listens, and while somebody does.
        telling.make_step(held, step, steps=STEPS)
        with Reader(events(client, prediction), key=client.key, last=heard[-1].id) as reader:
            heard.append(reader.next())
    telling.succeed(held, picture())
    with Reader(events(client, prediction), key=client.key, last=heard[-1].id) as reader:
        heard += reader.rest()
    assert names(heard) == ["queued", "started", *["progress"] * STEPS, "succeeded"]
    assert [each.data["step"] for each in heard[2:-1]] == [1, 2, 3, 4, 5]
    with Reader(events(client, prediction), key=client.key) as late:
        assert late.rest() == heard[1:]
    told = requests.get(
        events(client, prediction), headers={"X-API-Key": str(client.key), "Last-Event-ID": heard[-1].id}, timeout=30
    )
    assert (told.status_code, told.content) == (204, b"")


def test_what_is_not_kept_any_more_is_summed_up(client: Client, telling: Telling, farm: Settings) -> None:
    prediction = client.create("unserved", num_inference_steps=STEPS)
    held = telling.claim()
    for step in range(1, 4):
        telling.make_step(held, step, steps=STEPS)
    with Reader(events(client, prediction), key=client.key) as reader:
        heard = reader.until("progress")
        last = heard[-1].id
        while reader.next().data["step"] < 3:
            pass
    redis = redis_client(farm)
    redis.xtrim(prediction_events(prediction), maxlen=1, approximate=False)
    redis.close()
    telling.step(held, image=1, step=3, steps=STEPS)
    with Reader(events(client, prediction), key=client.key, last=last) as reader:
        snapshot = reader.next()
        telling.make_step(held, 4, steps=STEPS)
        after = reader.next()
        telling.succeed(held, picture())
        assert names(reader.rest()) == ["succeeded"]
    assert (snapshot.name, snapshot.data["status"], snapshot.data["progress"]["step"]) == ("snapshot", "processing", 3)
    assert (after.name, after.data["step"]) == ("progress", 4)


def test_an_attempt_that_was_lost_does_not_mix_with_the_next(client: Client, telling: Telling) -> None:
    prediction = client.create("unserved", num_inference_steps=STEPS)
    with Reader(events(client, prediction), key=client.key) as reader:
        lost = telling.claim()
        telling.make_step(lost, 1, steps=STEPS)
        heard = reader.until("progress")
        telling.hand_back(lost)
        heard += reader.until("queued")
        held = telling.claim()
        telling.make_step(lost, 2, steps=STEPS)
        telling.make_step(held, 1, steps=STEPS)
        telling.succeed(held, picture())
        heard += reader.rest()
    assert names(heard)[-5:] == ["progress", "queued", "started", "progress", "succeeded"]
    assert [each.data["attempt"] for each in heard if each.name == "started"] == [1, 2]


def test_without_redis_the_rows_are_told_of(farm: Settings, logs: Path, client: Client, database: Database) -> None:
    quiet = PlayedWorker(database, farm)
    prediction = client.create("unserved")
    deaf = dataclasses.replace(farm, redis_url=f"redis://127.0.0.1:{free_port()}/0", api_workers=1)
    with serving(deaf, logs) as api, Client(api.url, client.described, client.key) as own:
        with Reader(events(own, prediction), key=own.key) as reader:
            heard = [reader.next()]
            held = quiet.claim()
            heard.append(reader.next())
            quiet.step(held, image=1, step=3, steps=STEPS)
            heard.append(reader.next())
        with Reader(events(own, prediction), key=own.key, last=heard[-1].id) as reader:
            quiet.succeed(held, picture())
            heard += reader.rest()
        with Reader(f"{api.url}/v1/events", key=own.key) as reader:
            assert reader.next().data == {"predictions": []}
            second = client.create("unserved")
            told = reader.until("queued")
            quiet.claim()
            told += reader.until("started")
            client.ask("POST", f"/v1/prediction/{second}/cancel")
            assert {each.data["id"] for each in told} == {second}
    assert names(heard) == ["snapshot", "snapshot", "snapshot", "succeeded"]
    assert [each.data["status"] for each in heard] == ["starting", "processing", "processing", "success"]


def test_a_signed_link_opens_one_prediction_to_be_read(client: Client, new_client: NewClient, telling: Telling) -> None:
    created = client.try_create("unserved").json()
    link, other = created["urls"]["events"], client.try_create("unserved").json()["urls"]["events"]
    assert client.look(created["predictionID"])["urls"]["events"] == link
    with Reader(link) as reader:
        assert reader.next().data["id"] == created["predictionID"]
    swapped = link.partition("?")[0] + "?" + other.partition("?")[2]
    for wrong in (swapped, link[:-1], link.replace("exp=", "exp=9"), link.partition("&")[0] + "&sig="):
        answer = requests.get(wrong, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (403, "link_invalid"), wrong
    query = link.partition("?")[2]
    for path in (f"/v1/prediction/{created['predictionID']}", "/v1/events"):
        assert requests.get(f"{client.url}{path}?{query}", timeout=30).status_code == 401
    foreign = new_client()
    assert foreign.get(f"/v1/prediction/{created['predictionID']}/events").status_code == 404
    blind = new_client(scopes=("predict",))
    assert blind.get(f"/v1/prediction/{created['predictionID']}/events").status_code == 403


def test_all_of_a_key_are_followed(client: Client, new_client: NewClient, telling: Telling) -> None:
    active = client.create("unserved", num_inference_steps=STEPS)
    feed = f"{client.url}/v1/events"
    with Reader(feed, key=client.key) as reader:
        snapshot = reader.next()
        new_client().create("unserved")
        held = telling.claim()
        telling.make_step(held, 1, steps=STEPS)
        heard = reader.until("progress")
        second = client.create("unserved")
        heard += reader.until("queued")
    telling.succeed(held, picture())
    client.ask("POST", f"/v1/prediction/{second}/cancel")
    with Reader(feed, key=client.key, last=heard[-1].id) as reader:
        heard += reader.until("cancelled")
    assert snapshot.data == {"predictions": [{"id": active, "status": "starting"}]}
    assert [(each.name, each.data["id"]) for each in heard] == [
        ("started", active),
        ("progress", active),
        ("queued", second),
        ("succeeded", active),
        ("cancelled", second),
    ]
    assert heard[3].data == client.look(active)
    assert len({each.id for each in heard}) == len(heard)


def test_a_signed_link_does_not_renew_itself(client: Client, telling: Telling, farm: Settings) -> None:
    url, _, query = client.try_create("unserved").json()["urls"]["events"].partition("?")
    soon = int(query.partition("&")[0].removeprefix("exp=")) - 23 * 3600
    link = f"{url}?{LinkSigner(load_secrets(farm)).sign(urlsplit(url).path, soon)}"
    telling.succeed(telling.claim(), picture())
    with Reader(link) as reader:
        assert reader.rest()[-1].data["urls"]["events"] == link


def test_streams_end_with_their_key(
    farm: Settings, logs: Path, client: Client, new_client: NewClient, database: Database
) -> None:
    leaver, colleague = new_client("one"), new_client("one")
    with (
        serving(dataclasses.replace(farm, api_workers=1), logs) as api,
        Client(api.url, client.described, leaver.key) as own,
    ):
        prediction = own.create("unserved")
        with (
            Reader(events(own, prediction), key=own.key) as one,
            Reader(f"{api.url}/v1/events", key=own.key) as all_of_them,
        ):
            assert (one.next().name, all_of_them.next().name) == ("queued", "snapshot")
            with database.session_scope() as session:
                keys.revoke(session, split(str(own.key))[0], by="test")
            until(lambda: own.get(f"/v1/prediction/{prediction}").status_code == 401, lambda: "still valid")
            colleague.ask("POST", f"/v1/prediction/{prediction}/cancel")
            assert (one.rest(), all_of_them.rest()) == ([], [])


def test_a_feed_that_is_not_kept_any_more_begins_anew(client: Client, telling: Telling, farm: Settings) -> None:
    with Reader(f"{client.url}/v1/events", key=client.key) as reader:
        last = reader.next().id
    redis = redis_client(farm)
    redis.delete(key_events(split(str(client.key))[0]))
    redis.close()
    prediction = client.create("unserved")
    with Reader(f"{client.url}/v1/events", key=client.key, last=last) as reader:
        snapshot = reader.next()
    assert (snapshot.name, snapshot.data) == (
        "snapshot",
        {"predictions": [{"id": prediction, "status": "starting"}]},
    )


def test_more_than_a_key_may_hold_get_a_snapshot(farm: Settings, logs: Path, client: Client) -> None:
    prediction = client.create("unserved")
    with (
        serving(dataclasses.replace(farm, max_waits=1, api_workers=1), logs) as api,
        Client(api.url, client.described, client.key) as own,
        Reader(events(own, prediction), key=own.key) as reader,
    ):
        reader.next()
        with Reader(events(own, prediction), key=own.key) as second:
            assert names(second.rest()) == ["snapshot"]


def test_a_stop_ends_streams_so_that_readers_go_elsewhere(farm: Settings, logs: Path, client: Client) -> None:
    prediction = client.create("unserved")
    with (
        serving(dataclasses.replace(farm, api_workers=1), logs) as api,
        Client(api.url, client.described, client.key) as own,
        Reader(events(own, prediction), key=own.key) as reader,
    ):
        assert reader.next().name == "queued"
        api.process.send_signal(signal.SIGTERM)
        assert reader.rest() == []


def test_proxies_are_told_to_pass_events_on(client: Client) -> None:
    with Reader(events(client, client.create("unserved")), key=client.key) as reader:
        assert reader.response.headers["X-Accel-Buffering"] == "no"
        assert reader.response.headers["Cache-Control"] == "no-store"
