"""`fluxfarm models pull`: a model's weights from the hub, whole, at one commit."""

import importlib
import importlib.util
import os
from types import ModuleType

import click

from fluxfarm.catalog import Weights, load_catalog
from fluxfarm.errors import SettingsError
from fluxfarm.settings import Settings

WANTED = ["*.safetensors", "*.json", "*/*.txt", "*/*.model"]
"""Weights, configurations and tokenizers; no code, and no pickles."""
ALONE = ["flux1-*.safetensors", "ae.safetensors"]
"""The same weights once more, in the layout of one file."""
HUB = "https://huggingface.co"


@click.command("pull")
@click.argument("slug")
@click.option("--revision", help="Branch, tag or commit; else what the catalogue says.")
def pull(slug: str, revision: str | None) -> None:
    """Fetch the weights of a model from the hub; a fetch that was cut off goes on where it stopped."""
    weights = load_catalog(Settings.from_environment(os.environ)).model(slug).weights
    for each in (weights, weights.base):
        if each is not None:
            _pull(slug, each, revision if each is weights else None)


def _pull(slug: str, weights: Weights, revision: str | None) -> None:
    if weights.location.startswith(("./", "/")):
        click.echo(f"{weights.name} lie in {weights.source}: nothing to fetch.")
        return
    path = _fetched(_hub(), weights.location, revision or weights.revision)
    commit = os.path.basename(path)  # noqa: PTH119 (the hub gives text)
    click.echo(f"{weights.location} at commit {commit}\n{path}")
    click.echo(f"To stay at that commit: FLUXFARM_WEIGHTS={slug}={path}")


def _hub() -> ModuleType:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SettingsError("huggingface_hub is not installed; pip install -c constraints.txt '.[worker]'")
    return importlib.import_module("huggingface_hub")


def _fetched(hub: ModuleType, location: str, revision: str) -> str:
    try:
        return str(hub.snapshot_download(location, revision=revision, allow_patterns=WANTED, ignore_patterns=ALONE))
    except hub.errors.GatedRepoError as error:
        raise SettingsError(
            f"{location} is given only to those who accept its licence: sign in, accept it at {HUB}/{location}, make a"
            f" token that may read at {HUB}/settings/tokens, and set HF_TOKEN to it."
        ) from error
    except hub.errors.RepositoryNotFoundError as error:
        raise SettingsError(
            f"the hub shows no {location}: its name is wrong, or it is private and HF_TOKEN is not set."
        ) from error
    except hub.errors.RevisionNotFoundError as error:
        raise SettingsError(f"{location} has no revision {revision!r}.") from error
    except hub.errors.LocalEntryNotFoundError as error:
        raise SettingsError(
            f"the hub cannot be reached (HF_HUB_OFFLINE={os.environ.get('HF_HUB_OFFLINE', '0')}), and {location} is not"
            " here whole; the same command goes on with what it has."
        ) from error
