"""`fluxfarm up`: the whole farm on one machine, in the foreground, until it is told to stop."""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from fluxfarm.cli.banner import banner
from fluxfarm.errors import FluxfarmError, SettingsError, Unavailable
from fluxfarm.local import plan
from fluxfarm.local.address import find_address, find_share
from fluxfarm.local.devices import Assignment, assign, choose_devices
from fluxfarm.local.join_token import make_token
from fluxfarm.local.lines import Lines
from fluxfarm.local.plan import Plan
from fluxfarm.local.private_files import private_directory, write_private
from fluxfarm.local.private_servers import PrivateServers
from fluxfarm.local.readiness import Readiness
from fluxfarm.local.running import RunningFarm, announce, only_one
from fluxfarm.local.sharing import Share
from fluxfarm.local.supervisor import Supervisor, stopped_when_wished
from fluxfarm.settings import Settings


@dataclass(frozen=True, slots=True)
class Extras:
    """What was asked for beside the farm that the settings describe."""

    share: Share | None
    assignments: list[Assignment] | None
    """Workers other than one per model."""
    ready_file: Path | None


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
@click.option(
    "--devices",
    help="One worker each: all, cpu, numbers such as 0,1, or none.  [default: a worker for each set of weights; two in "
    "all where only stand-ins draw]",
)
@click.option(
    "--share",
    metavar="ADDRESS",
    help="An address of this machine on which workers of other machines may reach the private servers.",
)
def up(
    *,
    host: str,
    port: int,
    data_dir: Path | None,
    ready_file: Path | None,
    devices: str | None,
    share: str | None,
) -> None:
    """Run the whole farm here: servers, API, maintenance and workers, until Ctrl-C."""
    try:
        settings = Settings.from_environment(os.environ)
        chosen = private_directory((data_dir or settings.data_dir).absolute())
        with only_one(chosen) as tell_address:
            address = find_address(host, port)
            tell_address(address.url)
            wanted = plan.make_plan(os.environ, replace(settings, data_dir=chosen), address)
            extras = Extras(
                share=find_share(share) if share else None,
                assignments=_assignments(wanted, devices),
                ready_file=ready_file,
            )
            _run(wanted, extras)
    except FluxfarmError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the system'}: {error.strerror or error}") from None


def _assignments(wanted: Plan, devices: str | None) -> list[Assignment] | None:
    if devices is None:
        return None
    return assign(plan.together(wanted.catalog), choose_devices(devices, os.environ))


def _run(wanted: Plan, extras: Extras) -> None:
    parts = plan.parts(wanted, extras.assignments)
    lines = Lines(sys.stdout.fileno(), width=max(len(part.name) for part in parts))
    with stopped_when_wished(lines) as supervisor, _ready_file(extras.ready_file) as tell_ready:
        servers = PrivateServers.wanted_by(wanted.settings, extras.share)
        if servers.postgres and not servers.postgres.has_data:
            # Made for a database that is gone.
            (wanted.settings.data_dir / _key_file(wanted.settings)).unlink(missing_ok=True)
        servers.start(supervisor)
        ready = servers.told_to(wanted)
        token = _join_token(ready, servers, extras.share)
        if ready.settings.s3_bucket is None:
            private_directory(ready.settings.objects_directory)  # other machines mount it before there is a picture
        supervisor.say("bringing the database's schema up to date")
        supervisor.run_once(plan.migration(ready))
        key = _demo_key(supervisor, ready, _key_file(wanted.settings))
        supervisor.say("starting the API, the maintenance process and the workers")
        for part in plan.parts(ready, extras.assignments):
            supervisor.start(part)
        served = ready.catalog.models if extras.assignments != [] else ()
        supervisor.wait_until(Readiness(ready.address, served, supervisor.say).check, pause=0.2)
        announce(ready.settings.data_dir, replace(_farm(ready, key), join_token=token))
        lines.plain(banner(ready, key, shared=token is not None))
        tell_ready(json.dumps({"url": ready.address.url, "api_key": key}) + "\n")
        supervisor.run()


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


def _join_token(ready: Plan, servers: PrivateServers, share: Share | None) -> str | None:
    """None where no other machine can reach the database and Redis, and nobody asked that it could."""
    settings = servers.as_others_reach_them(ready.settings)
    try:
        token = make_token(settings, ready.environment, url=ready.address.url, host=socket.gethostname())
    except SettingsError:
        if share:
            raise
        return None
    return token.encode()
