"""`fluxfarm join-token`, and `fluxfarm worker --join`: another machine works for this farm."""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from fluxfarm.errors import FluxfarmError
from fluxfarm.local import plan
from fluxfarm.local.devices import Assignment, assign, choose_devices
from fluxfarm.local.join_token import JoinToken, make_token
from fluxfarm.local.joining import Member, check_farm, make_member
from fluxfarm.local.lines import Lines
from fluxfarm.local.private_files import private_directory
from fluxfarm.local.running import only_one, running
from fluxfarm.local.supervisor import stopped_when_wished
from fluxfarm.settings import Settings


@click.command("join-token")
def join_token() -> None:
    """Print the line that makes another machine work for this farm.

    The token in it is a secret: whoever has it and reaches this machine can read and change every prediction.
    """
    settings = Settings.from_environment(os.environ)
    found = running(settings.data_dir)
    if found and found.join_token:
        token = found.join_token
    elif found:
        raise click.ClickException(
            f"the farm on {settings.data_dir} listens to this machine alone; start it with "
            "`fluxfarm up --share ADDRESS`, an address of this machine that the other one reaches"
        )
    elif settings.database_url is None:
        raise click.ClickException(
            f"no farm runs on {settings.data_dir}; start one with `fluxfarm up --share ADDRESS`, "
            "or set FLUXFARM_DATABASE_URL and FLUXFARM_REDIS_URL"
        )
    else:
        url = settings.public_url or "a farm without FLUXFARM_PUBLIC_URL"
        token = make_token(settings, os.environ, url=url, host=socket.gethostname()).encode()
    click.echo("On the other machine; the token is a secret, like a password:", err=True)
    click.echo(f"fluxfarm worker --join {token}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What belongs to the machine that joins."""

    models: tuple[str, ...]
    devices: str
    store: Path | None
    data_dir: Path | None


def join(text: str, wishes: Wishes) -> None:
    """Work for the farm of a token, in the foreground, until told to stop."""
    try:
        token = JoinToken.decode(sys.stdin.read() if text == "-" else text)
        data_dir = wishes.data_dir or Settings.from_environment(os.environ).data_dir
        chosen = private_directory(data_dir.absolute())
        with only_one(chosen) as tell_address:
            tell_address(f"works for {token.url}")
            member = make_member(token, os.environ, data_dir=chosen, store=wishes.store)
            models = [member.catalog.model(slug).slug for slug in wishes.models or member.catalog.models]
            assignments = assign(plan.together(member.catalog, models), choose_devices(wishes.devices, os.environ))
            click.echo(f"joining the farm {token.url} on {token.host}: making sure that both have one store")
            check_farm(member)
            _work(member, assignments)
    except FluxfarmError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the system'}: {error.strerror or error}") from None


def _work(member: Member, assignments: list[Assignment]) -> None:
    parts = plan.workers(member.settings, member.environment, assignments)
    with stopped_when_wished(Lines(sys.stdout.fileno(), width=max(len(part.name) for part in parts))) as supervisor:
        supervisor.say(f"starting {len(parts)} worker{'s' if len(parts) > 1 else ''}; Ctrl-C stops all")
        for part in parts:
            supervisor.start(part)
        supervisor.run()
