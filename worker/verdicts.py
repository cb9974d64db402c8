"""What the safety checkers' answers mean for a prediction: what is kept of them, told and logged."""

from collections.abc import Sequence
from typing import Any

from fluxfarm.moderation import Checked, Decision, Subject
from fluxfarm.outcomes import Safety, Withheld
from worker.checking import Checking, Finding, Judged
from worker.job import Job
from worker.pipelines import Pixels, Rendered


def judge(checking: Checking | None, job: Job, stage: Checked, what: str, pixels: Pixels) -> Judged | None:
    """Have a picture of the job judged, for its log too; None if there are no checkers, or they are not to look."""
    if checking is None:
        return None
    if not job.claimed.plan.check_safety:
        job.decisions.append(Decision(stage, what, Safety.SKIPPED, withheld=False))
        return None
    judged = checking.check(pixels)
    job.decisions += judged.decisions(stage, what)
    return judged


def safety(checking: Checking | None, judged: Judged | None) -> dict[str, Any]:
    """How a picture that is kept was found, as `StoredOutput` says it."""
    if judged is None:
        return {"safety": Safety.UNCHECKED if checking is None else Safety.SKIPPED}
    found = judged.decisive
    return {"safety": Safety.PASSED, "safety_score": found.score, "safety_checker": found.checker}


def withheld(rendered: Rendered, found: Finding) -> Withheld:
    """What is told of a picture that is not kept."""
    return Withheld(rendered.index, rendered.seed, found.checker, found.label, found.score)


def why_all(every: Sequence[Withheld]) -> str:
    """Why no picture is handed out, in one sentence."""
    if all(each.score is None for each in every):
        return "The safety checker failed, so every picture was withheld."
    return "The safety checker withheld every picture."


def why_input(name: str, found: Finding) -> str:
    """Why an input picture ends its prediction, in one sentence."""
    if found.failed:
        return f"{name}: the safety checker failed, so this picture is not let through."
    return f"{name}: the safety checker does not let this picture through."


def subject(job: Job) -> Subject:
    """Whose the job is, and by whose policy it is checked, for the log."""
    held, plan = job.claimed, job.claimed.plan
    return Subject(
        tenant_id=held.tenant_id,
        key_id=held.key_id,
        model=held.model,
        request_id=held.request_id,
        policy=plan.safety_policy,
        set_by=plan.safety_set_by,
        prediction_id=held.id,
        attempt=held.attempt,
    )
