"""Whether pictures are checked, and who says so: the strictest of deployment, model, tenant, key and request; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fluxfarm.errors import SafetyCheckerRequired

SCOPE: Final = "safety:off"


class Policy(StrEnum):
    """From the mildest to the strictest."""

    OFF_ALLOWED = "off_allowed"
    """Checked unless a request says otherwise."""
    DEFAULT_ON = "default_on"
    """Checked unless a request says otherwise whose key has the scope `safety:off`."""
    ENFORCED = "enforced"
    """Checked, whatever a request says."""


_STRICTNESS: Final = tuple(Policy)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What holds for one prediction."""

    policy: Policy = Policy.DEFAULT_ON
    set_by: str = "deployment"
    """Whose policy that is: of several that are as strict, the most general's."""
    checked: bool = True
    ignored: bool = False
    """The request asked not to be checked, and is all the same."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request says of being checked."""

    off: bool
    field: str
    """Where it says so, for a refusal."""
    scoped: bool
    """Its key has the scope `safety:off`."""


def strictest(said: Mapping[str, Policy | None]) -> tuple[Policy, str]:
    """The policy in force and whose it is, of what each says, the most general first; None says nothing."""
    found = {who: policy for who, policy in said.items() if policy is not None}
    who = max(found, key=lambda each: _STRICTNESS.index(found[each]))
    return found[who], who


def rule(said: Mapping[str, Policy | None], wish: Wish, *, ignore_forbidden: bool) -> Ruling:
    """Decide for one prediction; with `ignore_forbidden` a wish that may not be granted is passed over.

    Raises:
        SafetyCheckerRequired: it may not go unchecked.

    """
    policy, set_by = strictest(said)
    granted = policy is Policy.OFF_ALLOWED or (policy is Policy.DEFAULT_ON and wish.scoped)
    if wish.off and not granted and not ignore_forbidden:
        raise SafetyCheckerRequired(_refusal(policy, set_by, wish.field))
    return Ruling(policy, set_by, checked=not (wish.off and granted), ignored=wish.off and not granted)


def _refusal(policy: Policy, set_by: str, field: str) -> str:
    if policy is Policy.ENFORCED:
        return f"Pictures are always checked here, by the {set_by}'s policy; leave {field} out or send false."
    return f"This key may not set {field}; leave it out or send false."
