"""What must hold before a model's weights are started: licences accepted, pictures checked, settings together."""

from typing import Final

from fluxfarm import checkers, memory_plans
from fluxfarm.catalog import Model
from fluxfarm.errors import SettingsError
from fluxfarm.licences import TERMS, under_flux_dev
from fluxfarm.safety_policy import Policy, strictest
from fluxfarm.settings import Settings

NAME_ONE: Final = "name one, such as FLUXFARM_SAFETY_CHECKER=Falconsai/nsfw_image_detection"


def require(model: Model, settings: Settings) -> None:
    """Raises `SettingsError` where that does not hold; its message has several lines if a licence is the reason."""
    memory_plans.require(settings)
    if under_flux_dev(model.weights.licences) and settings.bfl_license is None:
        raise SettingsError(TERMS.format(model=model.slug))
    if not checkers.locations(model, settings):
        _require_checker(model, settings)


def _require_checker(model: Model, settings: Settings) -> None:
    if under_flux_dev(model.weights.licences):
        raise SettingsError(
            f"{model.slug} has no safety checker, and weights under the FLUX.1 [dev] licence start with one only; "
            f"{NAME_ONE}"
        )
    policy, who = strictest({"deployment": Policy(settings.safety_policy), "model": model.safety})
    if policy is Policy.ENFORCED:
        raise SettingsError(
            f"{model.slug} has no safety checker, and by the {who}'s policy its pictures are checked; {NAME_ONE}"
        )
    if settings.safety_checker is None and not model.weights.stand_in:
        raise SettingsError(
            f"{model.slug} has no safety checker; {NAME_ONE}, or FLUXFARM_SAFETY_CHECKER=none to hand out its pictures "
            "unchecked"
        )
