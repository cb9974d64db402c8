"""What is unsafe, or is not judged, is never in the store; what is good of it still is; and all of it is logged."""

import io
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fluxfarm import admission, lifecycle, lookup, moderation
from fluxfarm.admission import Rules
from fluxfarm.catalog import Model
from fluxfarm.database import Database
from fluxfarm.errors import PredictionFailed
from fluxfarm.keys import Caller
from fluxfarm.lookup import PredictionView
from fluxfarm.moderation import Entry
from fluxfarm.settings import Settings
from fluxfarm.status import Status
from fluxfarm.storage import LocalStore, input_key
from fluxfarm.storage.keys import tenant_prefix
from fluxfarm.upkeep import WorkerIdentity
from tests.checkers import BAD, GOOD, VILLAINS, MadeUp, Slow, picture
from tests.farm import request
from tests.processes import wait_until
from tests.unit.test_checking import Blind
from worker import run
from worker.checking import Checking
from worker.finisher import End, Finisher
from worker.job import Job, StageLimits
from worker.lease import LeaseKeeper
from worker.pipelines import Checker, Rendered, RenderOrder
from worker.prepare import Preparer, Ready
from worker.watchdog import Watchdog

LIMITS = StageLimits(1000, 1000, 1000)
HANG_SECONDS = 0.05


@dataclass
class Bench:
    """A finisher at work, without a device."""

    database: Database
    store: LocalStore
    model: Model
    caller: Caller
    finisher: Finisher
    keeper: LeaseKeeper

    def claim(self, *, checked: bool = True, image_key: str | None = None, policy: str = "default_on") -> Job:
        asked = request(self.caller, self.model, num_outputs=3, seed=7)
        sent = {"image": image_key} if image_key else {}
        plan = replace(asked.plan, check_safety=checked, picture_keys=sent, safety_policy=policy)
        with self.database.session_scope() as session:
            admission.admit(session, replace(asked, plan=plan), Rules(max_queued=1000))
            held = lifecycle.claim(
                session, model=self.model.slug, version=self.model.version, worker_id=uuid.uuid4(), lease_seconds=100
            )
        assert held is not None
        job = Job(held, LIMITS, Watchdog(), must_hand_back=lambda: False)
        self.keeper.hold(job)
        return job

    def give(self, job: Job, *reds: int) -> None:
        job.size = (64, 64)
        for place, red in enumerate(reds):
            self.finisher.picture(job, Rendered(place, job.claimed.plan.seeds[place], picture(red), 0.1))
        self.finisher.end(job, End.COMPLETE)

    def ended(self, job: Job) -> PredictionView:
        def view() -> PredictionView | None:
            with self.database.session_scope() as session:
                found = lookup.prediction(session, job.claimed.id, self.caller.tenant_id)
            return found if found and found.status in (Status.SUCCEEDED, Status.FAILED) else None

        return wait_until(view)  # type: ignore[no-any-return]

    def log(self) -> list[Entry]:
        with self.database.session_scope() as session:
            return list(reversed(moderation.recent(session, {}, limit=100)))

    def stored(self) -> list[str]:
        return list(self.store.keys(tenant_prefix(self.caller.tenant_id)))


NewBench = Callable[..., Any]


@pytest.fixture
def new_bench(database: Database, tmp_path: Path, flux_dev: Model, caller: Caller) -> NewBench:
    @contextmanager
    def made(*checkers: Checker, limit: float = 60.0) -> Iterator[Bench]:
        identity = WorkerIdentity(uuid.uuid4(), flux_dev.slug, flux_dev.version, "host", 1, "none")
        keeper, store = LeaseKeeper(database, [identity], 100), LocalStore(tmp_path)
        checking = Checking(checkers, all_must_agree=False, limit_seconds=limit) if checkers else None
        with Finisher(database, store, keeper, checking) as finisher:
            yield Bench(database, store, flux_dev, caller, finisher, keeper)

    return made


def test_good_pictures_of_a_series_are_kept_and_each_is_told_of(new_bench: NewBench) -> None:
    with new_bench(MadeUp()) as bench:
        job = bench.claim()
        bench.give(job, GOOD, BAD, GOOD)
        found = bench.ended(job)
        assert found.status is Status.SUCCEEDED
        assert [(each.position, each.seed, each.safety, each.safety_score) for each in found.outputs] == [
            (0, 7, "passed", 0.0),
            (2, 9, "passed", 0.0),
        ]
        assert {each.safety_checker for each in found.outputs} == {"made-up@1"}
        (withheld,) = found.result.withheld
        assert (withheld.position, withheld.seed, withheld.reason, withheld.score) == (1, 8, "red", 1.0)
        assert len(bench.stored()) == 2
        log = bench.log()
        assert [(each.what, each.verdict, each.withheld, each.score) for each in log] == [
            ("0", "passed", False, 0.0),
            ("1", "flagged", True, 1.0),
            ("2", "passed", False, 0.0),
        ]
        assert {(each.stage, each.policy, each.set_by, each.threshold) for each in log} == {
            ("output", "default_on", "deployment", 0.5)
        }
        assert {each.prediction_id for each in log} == {job.claimed.id}


def test_all_withheld_is_content_blocked(new_bench: NewBench) -> None:
    with new_bench(MadeUp()) as bench:
        job = bench.claim()
        bench.give(job, BAD, BAD, BAD)
        found = bench.ended(job)
        assert found.result.error_code == "content_blocked"
        assert [each.position for each in found.result.withheld] == [0, 1, 2]
        assert (bench.stored(), len(bench.log())) == ([], 3)


@pytest.mark.parametrize("villain", VILLAINS)
def test_nothing_that_a_broken_checker_looked_at_can_be_read(
    new_bench: NewBench, villain: Callable[[], MadeUp]
) -> None:
    with new_bench(Blind("blind@1"), villain(), limit=HANG_SECONDS if villain is Slow else 60.0) as bench:
        job = bench.claim()
        bench.give(job, GOOD, GOOD, GOOD)
        found = bench.ended(job)
        assert found.result.error_code == "content_blocked"
        assert "failed" in found.result.error_message
        assert bench.stored() == []
        assert bench.finisher.broken
        assert {each.label for each in bench.log()} == {"nothing", "checker failed"} or villain is Slow
        assert all(each.withheld for each in bench.log())


def test_nothing_is_in_the_store_before_its_verdict(new_bench: NewBench) -> None:
    thinking = Slow()
    with new_bench(thinking) as bench:
        job = bench.claim()
        bench.give(job, GOOD)
        assert thinking.asked.wait(30)
        assert bench.stored() == []
        thinking.let_go.set()
        assert bench.ended(job).status is Status.SUCCEEDED
        assert len(bench.stored()) == 1


def test_who_may_leave_pictures_unchecked_gets_them_as_they_are(new_bench: NewBench) -> None:
    with new_bench(MadeUp()) as bench:
        job = bench.claim(checked=False)
        bench.give(job, BAD)
        (kept,) = bench.ended(job).outputs
        assert (kept.safety, kept.safety_score, kept.safety_checker) == ("skipped", None, None)
        (entry,) = bench.log()
        assert (entry.verdict, entry.withheld, entry.checker) == ("skipped", False, None)


def test_where_policy_wants_checks_nothing_is_drawn_without_a_checker(new_bench: NewBench) -> None:
    with new_bench() as bench:
        job = bench.claim(policy="enforced")
        not_asked: Any = None
        end = run.render(Ready(job, RenderOrder("", (7,), 64, 64, 1, 3.5)), not_asked, bench.finisher)
        assert isinstance(end, PredictionFailed)
        found = bench.ended(job)
        assert (found.result.error_code, bench.stored()) == ("no_safety_checker", [])


def test_without_a_checker_pictures_are_said_to_be_unchecked(new_bench: NewBench) -> None:
    with new_bench() as bench:
        for checked in (True, False):
            job = bench.claim(checked=checked)
            bench.give(job, BAD)
            assert [each.safety for each in bench.ended(job).outputs] == ["unchecked"]
        assert bench.log() == []


@pytest.mark.parametrize(("red", "checkers", "said"), [
    (BAD, (MadeUp(),), "does not let this picture through"),
    (GOOD, (VILLAINS[0](),), "failed"),
])  # fmt: skip
def test_an_input_picture_is_looked_at_before_anything_is_drawn(
    new_bench: NewBench, settings: Settings, red: int, checkers: tuple[Checker, ...], said: str
) -> None:
    with new_bench() as bench:
        checking = Checking(checkers, all_must_agree=False, limit_seconds=60)
        preparer = Preparer({bench.model.slug: bench.model}, bench.store, settings, checking)
        for checked in (True, False):
            job = bench.claim(checked=checked, image_key=sent(bench, red))
            preparer.submit(job)
            ready = wait_until(lambda: preparer.take(0.1))
            if not checked:
                assert ready.failure is None
                assert [each.verdict for each in job.decisions] == ["skipped"]
                continue
            assert (ready.order, ready.failure.reason) == (None, "content_blocked")
            assert said in ready.failure.message
            bench.finisher.end(job, ready.failure)
            assert bench.ended(job).result.error_code == "content_blocked"
            (entry,) = bench.log()
            assert (entry.stage, entry.what, entry.withheld) == ("input", "image", True)


def sent(bench: Bench, red: int) -> str:
    file = io.BytesIO()
    Image.fromarray(picture(red)).save(file, "PNG")
    key = input_key(bench.caller.tenant_id, uuid.uuid4(), "png")
    bench.store.put(key, file.getvalue(), "image/png")
    return key


def test_a_decision_stands_only_if_its_worker_may_still_write(new_bench: NewBench) -> None:
    with new_bench(MadeUp()) as bench:
        job = bench.claim()
        with bench.database.session_scope() as session:
            lifecycle.hand_back(session, job.claimed)
        bench.give(job, GOOD)
        wait_until(lambda: job.stop)
        assert bench.log() == []
