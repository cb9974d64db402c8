"""What the owner of a prediction should know of it, for every door."""

from api import safety
from api.services import services
from fluxfarm.catalog import Model
from fluxfarm.lookup import PredictionView
from fluxfarm.plans import Plan


def told(view: PredictionView) -> list[str]:
    """Of its weights, of what it was asked for, and of how it went."""
    served = services().catalog.models.get(view.model)
    model = served if served and served.version == view.version else None
    return [*foretold(view.plan, model), *(view.result.notices if view.result else ())]


def foretold(plan: Plan, model: Model | None) -> list[str]:
    """What can be said before it is drawn; None is a model that is not served any more."""
    own = [model.weights.notice] if model and model.weights.notice else []
    return [*own, *plan.notices, *safety.notices(plan)]
