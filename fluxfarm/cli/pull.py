"""`fluxfarm models pull`: a model's weights from the hub, whole, at one commit."""

import importlib
import importlib.util
import os
from types import ModuleType

import click

from fluxfarm import checkers
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
    """Fetch the weights of a model from the hub.

    A connection that breaks is taken up where it broke; files that came whole are not fetched again. With them comes
    what they lie over, what finds the depth of pictures for them, and the safety checkers that look at theirs.
    """
    settings = Settings.from_environment(os.environ)
    model = load_catalog(settings).model(slug)
    weights = model.weights
    if path := _pull(weights, revision or weights.revision):
        click.echo(f"To stay at that commit: FLUXFARM_WEIGHTS={model.slug}={path}")
    if weights.base is not None:
        _pull(weights.base, weights.base.revision)
    if (estimator := weights.depth_source) is not None and not _here(estimator):
        _tell(estimator, _fetched(_hub(), estimator, "main"))
    for checker in checkers.locations(model, settings):
        location, _, commit = checker.partition("@")
        if not _here(location):
            _tell(location, _fetched(_hub(), location, commit or "main"))


def _pull(weights: Weights, revision: str) -> str | None:
    """Where they lie now; None if they were on this machine before."""
    if _here(weights.location):
        click.echo(f"{weights.name} lie in {weights.source}: nothing to fetch.")
        return None
    path = _fetched(_hub(), weights.location, revision)
    _tell(weights.location, path)
    return path


def _here(location: str) -> bool:
    return location.startswith(("./", "/"))


def _tell(location: str, path: str) -> None:
    commit = os.path.basename(path)  # noqa: PTH119 (the hub gives text)
    click.echo(f"{location} at commit {commit}\n{path}")


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
            " here whole; the same command fetches the files that are missing."
        ) from error
    except (OSError, _http().HTTPError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SettingsError(
            f"{location} did not come whole; the same command fetches the files that are missing: {reason}"
        ) from error


def _http() -> ModuleType:
    """What the hub's library speaks through; it lets some of its errors pass."""
    return importlib.import_module("httpx2")
