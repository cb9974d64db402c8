"""Several checkers as one, and what goes wrong in any of them."""

from collections.abc import Callable

import pytest

from fluxfarm.moderation import Checked
from fluxfarm.outcomes import Safety
from tests.checkers import BAD, GOOD, VILLAINS, MadeUp, Raising, Slow, picture
from worker.checking import Checking
from worker.pipelines import Checker, Verdict

SHORT, LONG = 0.05, 60.0


def checking(*checkers: Checker, together: bool = False, limit: float = LONG) -> Checking:
    return Checking(checkers, all_must_agree=together, limit_seconds=limit)


class Blind(MadeUp):
    name = "blind@1"

    def check(self, pixels: object) -> Verdict:
        return Verdict("nothing", 0.0, 0.5, blocked=False)


@pytest.mark.parametrize(("together", "blocked"), [(False, True), (True, False)])
def test_any_of_them_blocks_or_only_all(together: bool, blocked: bool) -> None:  # noqa: FBT001
    both = checking(Blind("blind@1"), MadeUp(), together=together)
    judged = both.check(picture(BAD))
    assert judged.blocked is blocked
    assert [each.blocked for each in judged.findings] == [False, True]
    assert judged.decisive.checker == "made-up@1"
    assert checking(MadeUp(), MadeUp(), together=together).check(picture(BAD)).blocked
    passed = both.check(picture(100))
    assert (passed.blocked, passed.decisive.checker) == (False, "made-up@1"), "what came nearest is told"


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("villain", VILLAINS)
def test_one_that_fails_blocks_whatever_the_others_say(villain: Callable[[], MadeUp], together: bool) -> None:  # noqa: FBT001
    both = checking(Blind("blind@1"), villain(), together=together, limit=SHORT if villain is Slow else LONG)
    judged = both.check(picture(GOOD))
    assert judged.blocked
    assert judged.decisive.failed
    assert judged.decisive.label == "checker failed"


def test_two_failures_in_a_row_are_no_accident() -> None:
    class Sometimes(MadeUp):
        def check(self, pixels: object) -> Verdict:
            return Raising.check(self, pixels) if next(turns) else MadeUp.check(self, picture())  # type: ignore[arg-type]

    turns = iter([True, False, True, True])
    some = checking(Sometimes())
    for expected in (False, False, False, True):
        some.check(picture())
        assert some.broken is expected


def test_after_a_hang_nobody_waits_again() -> None:
    stuck = Slow()
    hanging = checking(stuck, limit=SHORT)
    assert hanging.check(picture()).blocked
    assert hanging.broken
    stuck.let_go.set()
    assert hanging.check(picture()).decisive.failed, "it is not asked any more"


def test_each_finding_is_a_line_of_the_log() -> None:
    decisions = checking(Blind("blind@1"), MadeUp()).check(picture(BAD)).decisions(Checked.OUTPUT, "2")
    assert [(each.checker, each.verdict, each.withheld) for each in decisions] == [
        ("blind@1", Safety.PASSED, True),
        ("made-up@1", Safety.FLAGGED, True),
    ]
    assert {(each.stage, each.what) for each in decisions} == {(Checked.OUTPUT, "2")}
