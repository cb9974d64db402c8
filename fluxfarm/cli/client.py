"""The command line as a client of the API: where it is, which key to show it, and its errors as sentences."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import requests

from fluxfarm.local.running import running
from fluxfarm.settings import Settings

TIMEOUT_SECONDS = 70
PATIENCE_SECONDS = 60
ABSENT = (
    requests.codes.internal_server_error,
    requests.codes.bad_gateway,
    requests.codes.service_unavailable,
    requests.codes.gateway_timeout,
)
"""The API, or what stands before it, cannot say what became of a call."""
PASSING = (requests.codes.too_many_requests, *ABSENT)


@dataclass(frozen=True, slots=True)
class Client:
    url: str
    api_key: str

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Ask the API; raises `ClickException` with its own words when it refuses or does not answer."""
        return self.judged(self.ask(method, path, **arguments))

    def judged(self, response: requests.Response | None) -> requests.Response:
        """An answer that is no refusal; raises as `call` does."""
        if response is None:
            raise click.ClickException(f"No answer from {self.url}; is fluxfarm running?")
        if response.status_code >= requests.codes.bad_request:
            raise click.ClickException(refusal(response))
        return response

    def look(self, path: str) -> requests.Response:
        """Read what is already under way, patiently; raises as `call` does."""
        return self.judged(self.look_for(path))

    def look_for(self, path: str) -> requests.Response | None:
        """As `look`, but a refusal is an answer too."""
        return patiently(lambda: self.ask("GET", path))

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response | None:
        """The answer, whatever it says; None where there is none."""
        headers = {"X-API-Key": self.api_key}
        try:
            return requests.request(
                method, self.url + path, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False, **arguments
            )
        except requests.RequestException:
            return None


def client() -> Client:
    """From FLUXFARM_URL and FLUXFARM_API_KEY, else of the farm that runs on the data directory."""
    found = running(Settings.from_environment(os.environ).data_dir)
    url = os.environ.get("FLUXFARM_URL") or (found.url if found else None)
    key = os.environ.get("FLUXFARM_API_KEY") or (found.api_key if found else None)
    if url is None or key is None:
        raise click.ClickException(
            "No farm runs here; start one with `fluxfarm up`, or set FLUXFARM_URL and FLUXFARM_API_KEY."
        )
    return Client(url.rstrip("/"), key)


def patiently(ask: Callable[[], requests.Response | None]) -> requests.Response | None:
    """Ask until there is an answer: an absence or a limit that passes within a minute ends nothing."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        response = ask()
        passing = response is None or response.status_code in PASSING
        if not passing or time.monotonic() > deadline:
            return response
        time.sleep(retry_after(response))


def retry_after(response: requests.Response | None) -> float:
    """Seconds until the API wants to be asked again."""
    said = response.headers.get("Retry-After", "") if response is not None else ""
    return min(PATIENCE_SECONDS, int(said)) if said.isdecimal() else 1.0


def code(response: requests.Response) -> str | None:
    """The API's own code of a refusal; None for what somebody else answered."""
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return None


def refusal(response: requests.Response) -> str:
    """Why the API refused, in its own words."""
    try:
        said = response.json()
        lines = [said["error"], *(f"  {each['field']}: {each['message']}" for each in said["details"])]
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code} without saying why."
    return lines[0] if len(lines) <= 2 else "\n".join(lines)  # noqa: PLR2004 (one detail is already in the message)
