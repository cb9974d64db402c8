"""The strictest wins, whoever says it, and only what it allows may go unchecked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxfarm.errors import SafetyCheckerRequired
from fluxfarm.safety_policy import Policy, Wish, rule, strictest

MILD, USUAL, STRICT = Policy.OFF_ALLOWED, Policy.DEFAULT_ON, Policy.ENFORCED
SAID = st.fixed_dictionaries(
    {"deployment": st.sampled_from(Policy)},
    optional={who: st.none() | st.sampled_from(Policy) for who in ("model", "tenant", "key")},
)
WISHES = st.builds(Wish, off=st.booleans(), field=st.just("off"), scoped=st.booleans())


@given(said=SAID, wish=WISHES)
def test_whoever_is_stricter_than_all_others_decides(said: dict[str, Policy | None], wish: Wish) -> None:
    policy, who = strictest(said)
    assert said[who] is policy
    for each in said.values():
        assert each is None or list(Policy).index(each) <= list(Policy).index(policy)
    stricter = {**said, "key": STRICT}
    assert rule(stricter, wish, ignore_forbidden=True).checked, "nobody can make it milder"


@given(said=SAID, wish=WISHES)
def test_nothing_is_unchecked_that_nobody_asked_to_be(said: dict[str, Policy | None], wish: Wish) -> None:
    ruling = rule(said, wish, ignore_forbidden=True)
    assert ruling.checked or wish.off
    assert ruling.ignored == (wish.off and ruling.checked)


@pytest.mark.parametrize(
    ("policy", "scoped", "granted"),
    [(MILD, False, True), (MILD, True, True), (USUAL, False, False), (USUAL, True, True), (STRICT, True, False)],
)
def test_who_may_leave_pictures_unchecked(policy: Policy, scoped: bool, granted: bool) -> None:  # noqa: FBT001
    said, wish = {"deployment": MILD, "tenant": policy}, Wish(off=True, field="input.off", scoped=scoped)
    if granted:
        assert not rule(said, wish, ignore_forbidden=False).checked
        return
    with pytest.raises(SafetyCheckerRequired, match=r"input\.off") as refusal:
        rule(said, wish, ignore_forbidden=False)
    assert ("tenant's policy" in refusal.value.message) == (policy is STRICT)
    passed_over = rule(said, wish, ignore_forbidden=True)
    assert (passed_over.checked, passed_over.ignored) == (True, True)


def test_of_several_that_are_as_strict_the_most_general_is_named() -> None:
    assert strictest({"deployment": USUAL, "model": STRICT, "tenant": STRICT, "key": None}) == (STRICT, "model")
