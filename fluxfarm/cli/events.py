"""A prediction's events, as the API streams them."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests

from fluxfarm.cli.client import Client

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 45.0
"""Longer than between two of its heartbeats."""


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    id: str
    data: dict[str, Any]


def events(api: Client, prediction: str, last: str | None) -> Iterator[Event]:
    """What follows the event of the id `last`, as it comes; ends with the stream, however that ends."""
    with suppress(requests.RequestException, ValueError, KeyError), _asked(api, prediction, last) as response:
        if response.status_code == requests.codes.ok:
            # In whatever pieces it comes.
            yield from _read(response.iter_lines(chunk_size=None, decode_unicode=True))


def _asked(api: Client, prediction: str, last: str | None) -> requests.Response:
    return requests.get(
        f"{api.url}/v1/prediction/{prediction}/events",
        headers={"X-API-Key": api.api_key, **({"Last-Event-ID": last} if last else {})},
        stream=True,
        timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
        allow_redirects=False,
    )


def _read(lines: Iterable[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield Event(fields["event"], fields["id"], json.loads(fields["data"]))
            fields = {}
