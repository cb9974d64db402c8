"""`fluxfarm backup` and `fluxfarm restore`: everything the database knows, as one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fluxfarm import schema
from fluxfarm.cli.context import farm_settings
from fluxfarm.errors import SettingsError
from fluxfarm.local import backups
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.private_files import private_directory
from fluxfarm.local.running import only_one
from fluxfarm.settings import Settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write the database to FILE: tenants, keys, predictions, the audit. The farm may run meanwhile, or be stopped.

    Pictures and the secret that signs their links are not in it.
    """
    settings = farm_settings()
    if file.exists():
        raise SettingsError(f"{file} is there already; choose another name")
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"there is no directory {file.absolute().parent}")
    if settings.database_url is None and not _has_data(settings):
        raise SettingsError(f"there is no database in {settings.data_dir} to make a backup of")
    with _database(settings) as url:
        found = backups.look(url)
        if found.version is None:
            raise SettingsError("the database has no tables of fluxfarm")
        backups.dump(url, file)
    click.echo(f"wrote {file}: {_holding(found)}, {file.stat().st_size} bytes")
    click.echo(f"not in it: {_beside(settings)}; copy them as well")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--force", is_flag=True, help="Replace what the database holds, even while a farm runs on it.")
def restore(file: Path, *, force: bool) -> None:
    """Put the database back as it was when FILE was written, in one transaction: all of it or nothing.

    Pictures are not in FILE; they must be where the farm keeps them.
    """
    settings = farm_settings()
    with _database(settings) as url:
        version = backups.version_in(file, url)
        _refuse_loss(backups.look(url), force=force)
        backups.restore(url, file)
        found = backups.look(url)
    click.echo(f"restored {_holding(found)}")
    click.echo(f"not restored: {_beside(settings)}; put them back as well")
    if version != schema.head():
        click.echo("the schema is that of an older release: `fluxfarm up` or `fluxfarm migrate` brings it up to date")


def _refuse_loss(found: backups.Contents, *, force: bool) -> None:
    if found.version is not None and found.version not in backups.known_versions():
        raise SettingsError(
            f"the database belongs to a later release: its schema is at {found.version}, "
            f"and this release knows {schema.head()}"
        )
    if force:
        return
    if found.busy:
        raise SettingsError("a farm runs on the database; stop it first, or add --force to replace its rows as it runs")
    if found.tenants or found.predictions:
        raise SettingsError(f"the database holds {_holding(found)}; add --force to replace them by what the file holds")


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The farm's database; a private one that does not run is started for as long as the block takes."""
    if settings.database_url is not None:
        yield settings.require_database_url().replace("+psycopg", "", 1)
        return
    data_dir = private_directory(settings.data_dir.absolute())
    with only_one(data_dir) as tell_address:
        tell_address("backup or restore")
        with PrivatePostgres(data_dir) as server:
            yield server.url


def _has_data(settings: Settings) -> bool:
    return settings.data_dir.exists() and PrivatePostgres(settings.data_dir).has_data


def _holding(found: backups.Contents) -> str:
    """`1 tenant and 3 predictions`."""
    counted = ((found.tenants, "tenant"), (found.predictions, "prediction"))
    return " and ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in counted)


def _beside(settings: Settings) -> str:
    pictures = f"the bucket {settings.s3_bucket}" if settings.s3_bucket else str(settings.objects_directory)
    return f"pictures ({pictures}) and the secrets of links ({settings.data_dir / 'secrets'})"
