"""Which checkers look at the pictures of a model: those that the settings name, or else its weights' own."""

from fluxfarm.catalog import Model
from fluxfarm.settings import Settings


def locations(model: Model, settings: Settings) -> tuple[str, ...]:
    """Directories and hub ids; none if its pictures are not checked at all."""
    return settings.safety_checker if settings.safety_checker is not None else model.weights.checker_sources
