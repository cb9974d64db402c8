"""`fluxfarm up`: the whole farm on one machine, in the foreground, until it is told to stop."""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from fluxfarm.errors import FluxfarmError, Unavailable
from fluxfarm.local import plan
from fluxfarm.local.address import find_address
from fluxfarm.local.lines import Lines
from fluxfarm.local.plan import Plan
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.private_files import private_directory, write_private
from fluxfarm.local.readiness import Readiness
from fluxfarm.local.running import RunningFarm, announce, only_one
from fluxfarm.local.supervisor import StopWished, Supervisor
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.settings import Settings

PROMPT = "a red circle on a blue background"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the API listens on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Everything that is kept.  [default: .fluxfarm]",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Gets the address and a key as JSON when a prediction can be made.",
)
def up(host: str, port: int, data_dir: Path | None, ready_file: Path | None) -> None:
    """Run the whole farm here: servers, API, maintenance and a worker per model, until Ctrl-C."""
    try:
        settings = Settings.from_environment(os.environ)
        chosen = private_directory((data_dir or settings.data_dir).absolute())
        with only_one(chosen) as tell_address:
            address = find_address(host, port)
            tell_address(address.url)
            _run(plan.make_plan(os.environ, replace(settings, data_dir=chosen), address), ready_file)
    except FluxfarmError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the system'}: {error.strerror or error}") from None


def _run(wanted: Plan, ready_file: Path | None) -> None:
    lines = Lines(sys.stdout.fileno(), width=max(len(f"worker:{slug}") for slug in wanted.catalog.models))
    with _stopped_when_wished(lines) as supervisor, _ready_file(ready_file) as tell_ready:
        ready = _with_servers(supervisor, wanted)
        supervisor.say("bringing the database's schema up to date")
        supervisor.run_once(plan.migration(ready))
        key = _demo_key(supervisor, ready, _key_file(wanted.settings))
        supervisor.say("starting the API, the maintenance process and the workers")
        for part in plan.parts(ready):
            supervisor.start(part)
        supervisor.wait_until(Readiness(ready.address, ready.catalog.models, supervisor.say).check, pause=0.2)
        announce(ready.settings.data_dir, _farm(ready, key))
        lines.plain(banner(ready, key))
        tell_ready(json.dumps({"url": ready.address.url, "api_key": key}) + "\n")
        supervisor.run()


@contextmanager
def _stopped_when_wished(lines: Lines) -> Iterator[Supervisor]:
    """A supervisor; the wish to stop ends the block and is no error."""
    try:
        with Supervisor(lines) as supervisor:
            yield supervisor
    except StopWished:
        lines.plain("fluxfarm has stopped")
        lines.flush(seconds=1.0)


@contextmanager
def _ready_file(path: Path | None) -> Iterator[Callable[[str], None]]:
    """A file that is only there while it is true."""
    if path is None:
        yield lambda _: None
        return
    path = path.absolute()
    path.unlink(missing_ok=True)
    try:
        yield lambda content: write_private(path, content)
    finally:
        path.unlink(missing_ok=True)


def _with_servers(supervisor: Supervisor, wanted: Plan) -> Plan:
    """Start the servers whose addresses were not given, both at once."""
    data_dir, given = wanted.settings.data_dir, wanted.settings
    postgres = PrivatePostgres(data_dir) if given.database_url is None else None
    valkey = PrivateValkey(data_dir / "valkey") if given.redis_url is None else None
    if postgres and not postgres.has_data:
        (data_dir / _key_file(given)).unlink(missing_ok=True)  # made for a database that is gone
    for name, server in (("postgres", postgres), ("valkey", valkey)):
        if server:
            supervisor.say(f"starting {server.title}")
            supervisor.start(plan.server_part(name, server))
    supervisor.wait_until(lambda: all(server.ready() for server in (postgres, valkey) if server), pause=0.05)
    return plan.with_servers(
        wanted,
        database_url=given.database_url or (postgres.url if postgres else ""),
        redis_url=given.redis_url or (valkey.url if valkey else ""),
    )


def _key_file(settings: Settings) -> str:
    """A key belongs to one database, so each has a file of its own."""
    if settings.database_url is None:
        return "api_key"
    return f"api_key-{hashlib.sha256(settings.database_url.encode()).hexdigest()[:12]}"


def _demo_key(supervisor: Supervisor, ready: Plan, name: str) -> str:
    """The key of the tenant `demo`, made once per database."""
    file = ready.settings.data_dir / name
    if not file.exists():
        supervisor.say("making the tenant demo and its key")
        answer = supervisor.run_once(plan.demo_key(ready), quiet=True)
        try:
            write_private(file, json.loads(answer)["key"] + "\n")
        except (ValueError, KeyError, TypeError):
            raise Unavailable("`fluxfarm keys create --json` did not print a key") from None
    return file.read_text().strip()


def _farm(ready: Plan, key: str) -> RunningFarm:
    return RunningFarm(
        url=ready.address.url,
        api_key=key,
        database_url=ready.environment["FLUXFARM_DATABASE_URL"],
        redis_url=ready.environment["FLUXFARM_REDIS_URL"],
        pid=os.getpid(),
    )


def banner(ready: Plan, key: str) -> str:
    url, models = ready.address.url, ready.catalog.models
    rows = [("address", url), ("key", key), ("data", str(ready.settings.data_dir))]
    if ready.settings.public_url not in (None, url):
        rows.insert(1, ("links", f"start with {ready.settings.public_url}"))
    if ready.stand_ins:
        served = ", ".join(ready.stand_ins)
        notice = f"stand-in weights serve {served}: the pictures mean nothing; FLUXFARM_WEIGHTS names real ones"
        rows.append(("notice", notice))
    body = {"model": "flux-dev" if "flux-dev" in models else next(iter(models)), "input": {"prompt": PROMPT}}
    headers = [shlex.quote(f"X-API-Key: {key}"), "'Content-Type: application/json'"]
    sent = f"curl -sS {url}/v1/prediction -H {headers[0]} -H {headers[1]} -d {shlex.quote(json.dumps(body))}"
    table = "\n".join(f"  {name:<9}{value}" for name, value in rows)
    return f"\nfluxfarm is ready; Ctrl-C stops all of it\n\n{table}\n\n{sent}\n"
