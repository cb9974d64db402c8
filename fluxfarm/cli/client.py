"""The command line as a client of the API: where it is, which key to show it, and its errors as sentences."""

import os
import time
from dataclasses import dataclass
from typing import Any

import click
import requests

from fluxfarm.local.running import running
from fluxfarm.settings import Settings

TIMEOUT_SECONDS = 70
PATIENCE_SECONDS = 60
PASSING = (requests.codes.too_many_requests, requests.codes.service_unavailable)


@dataclass(frozen=True, slots=True)
class Client:
    url: str
    api_key: str

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Ask the API; raises `ClickException` with its own words when it refuses or does not answer."""
        return self._judged(self.ask(method, path, **arguments))

    def _judged(self, response: requests.Response | None) -> requests.Response:
        if response is None:
            raise click.ClickException(f"No answer from {self.url}; is fluxfarm running?")
        if response.status_code >= requests.codes.bad_request:
            raise click.ClickException(refusal(response))
        return response

    def look(self, path: str) -> requests.Response:
        """Read what is already under way: an absence or a limit that passes within a minute ends nothing."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            response = self.ask("GET", path)
            passing = response is None or response.status_code in PASSING
            if not passing or time.monotonic() > deadline:
                return self._judged(response)
            time.sleep(retry_after(response))

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


def retry_after(response: requests.Response | None) -> float:
    """Seconds until the API wants to be asked again."""
    said = response.headers.get("Retry-After", "") if response is not None else ""
    return min(PATIENCE_SECONDS, int(said)) if said.isdecimal() else 1.0


def refusal(response: requests.Response) -> str:
    """Why the API refused, in its own words."""
    try:
        said = response.json()
        lines = [said["error"], *(f"  {each['field']}: {each['message']}" for each in said["details"])]
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code} without saying why."
    return lines[0] if len(lines) <= 2 else "\n".join(lines)  # noqa: PLR2004 (one detail is already in the message)
