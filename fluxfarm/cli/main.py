"""The root of the command line, and how its errors look: one sentence, never a traceback."""

from importlib.metadata import version
from typing import Any

import click
from sqlalchemy.exc import DBAPIError

from fluxfarm.cli.backup import backup, restore
from fluxfarm.cli.batch import batch
from fluxfarm.cli.doctor import doctor
from fluxfarm.cli.join import join_token
from fluxfarm.cli.keys import keys
from fluxfarm.cli.migrate import migrate
from fluxfarm.cli.models import models
from fluxfarm.cli.moderation import moderation
from fluxfarm.cli.predict import predict
from fluxfarm.cli.secrets import secrets
from fluxfarm.cli.settings import settings
from fluxfarm.cli.status import status
from fluxfarm.cli.tenants import audit, tenants
from fluxfarm.cli.up import up
from fluxfarm.cli.worker import worker
from fluxfarm.errors import FluxfarmError


class OneSentence(click.Group):
    """Shows the domain's errors as a sentence each."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FluxfarmError as error:
            raise click.ClickException(error.message) from error
        except DBAPIError as error:
            said = str(error.orig).partition("\n")[0]
            raise click.ClickException(
                f"The database refused: {said}; `fluxfarm doctor` says what it needs."
            ) from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'the system'}: {error.strerror or error}") from error


@click.group(cls=OneSentence)
@click.version_option(version("fluxfarm"), prog_name="fluxfarm")
def main() -> None:
    """A self-hosted prediction platform for the FLUX.1 image models."""


for command in (
    up,
    worker,
    join_token,
    predict,
    batch,
    tenants,
    keys,
    audit,
    moderation,
    models,
    status,
    doctor,
    settings,
    secrets,
    migrate,
    backup,
    restore,
):
    main.add_command(command)
