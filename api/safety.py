"""Whether what is asked for is checked, for every door: who decides, and how it is told."""

from typing import Any, Final

from flask import g

from api.services import services
from fluxfarm import checkers, moderation
from fluxfarm.catalog import Model
from fluxfarm.errors import PromptBlocked
from fluxfarm.inputs import Order
from fluxfarm.keys import Caller
from fluxfarm.moderation import Checked, Decision, Subject
from fluxfarm.outcomes import Safety
from fluxfarm.plans import Plan
from fluxfarm.safety_policy import SCOPE, Policy, Ruling, Wish, rule

_REASONS: Final = {
    Policy.OFF_ALLOWED: "everybody may",
    Policy.DEFAULT_ON: f"the key has the scope {SCOPE}",
}


def ruling(caller: Caller, model: Model, order: Order, field: str) -> Ruling:
    """Decide whether what is asked for is checked, and check its prompt.

    `field` is what the door calls the wish that nothing is checked.

    Raises:
        SafetyCheckerRequired: it may not go unchecked.
        PromptBlocked: the prompt falls under a rule of the prompt filter; that is in the moderation log.

    """
    settings = services().settings
    said = {
        "deployment": Policy(settings.safety_policy),
        "model": model.safety,
        "tenant": caller.tenant_safety,
        "key": caller.safety,
    }
    wish = Wish(order.disable_safety_checker, field, scoped=SCOPE in caller.scopes)
    ruled = rule(said, wish, ignore_forbidden=settings.safety_off_forbidden == "ignore")
    if ruled.checked and order.prompt is not None:
        _refuse_blocked(caller, model, order.prompt, ruled)
    return ruled


def _refuse_blocked(caller: Caller, model: Model, prompt: str, ruled: Ruling) -> None:
    prompts = services().prompts
    broken = prompts.blocking(prompt)
    if broken is None:
        return
    subject = Subject(
        tenant_id=caller.tenant_id,
        key_id=caller.key_id,
        model=model.slug,
        request_id=g.request_id,
        policy=ruled.policy,
        set_by=ruled.set_by,
    )
    flagged = Decision(Checked.PROMPT, "prompt", Safety.FLAGGED, withheld=True, checker=prompts.name, label=broken.name)
    with services().database.session_scope() as session:
        moderation.record(session, subject, [flagged])
    raise PromptBlocked("The prompt asks for something that is not drawn here.")


def foretold(plan: Plan, model: Model) -> dict[str, Any]:
    """Whether the pictures of a plan will be checked, and why."""
    configured = bool(checkers.locations(model, services().settings))
    return {**told(plan), "checked": plan.check_safety and configured, "reason": _reason(plan, configured=configured)}


def told(plan: Plan) -> dict[str, Any]:
    """Whether pictures are to be checked, and whose policy that is."""
    return {"policy": plan.safety_policy, "set_by": plan.safety_set_by, "checked": plan.check_safety}


def notices(plan: Plan) -> list[str]:
    """What its owner should know of it."""
    ignored = f"disable_safety_checker has no effect here, by the {plan.safety_set_by}'s policy: pictures are checked."
    return [ignored] if plan.safety_off_ignored else []


def _reason(plan: Plan, *, configured: bool) -> str:
    if not configured:
        return "No safety checker is configured here."
    if not plan.check_safety:
        return f"It was asked not to be, and {_REASONS[Policy(plan.safety_policy)]}."
    return "A picture that the safety checker finds unsafe is withheld."
