"""What a reader of one prediction is told, where the row and the stream know different things."""

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest

from api.doors import eachlabs_story
from api.doors.eachlabs_story import Story
from api.seen import Answer
from api.sse import Cursor, Event
from fluxfarm.lookup import Standing
from fluxfarm.moves import Place, Word, place
from fluxfarm.status import Stage, Status
from fluxfarm.told import Told

ID = uuid.uuid4()
STEPS = 9


class Stream:
    """What is kept of a prediction's events."""

    def __init__(self, *kept: Told) -> None:
        self.kept: list[Told] | None = list(kept)

    def first_kept(self, _prediction: object) -> list[Told] | None:
        return None if self.kept is None else self.kept[:1]

    def of_prediction(self, _prediction: object, after: Place) -> list[Told] | None:
        return None if self.kept is None else [each for each in self.kept if each.place > after]


def told(word: Word, step: int = 0) -> Told:
    at = place(word, 1, 1 if step else 0, step)
    more = {"steps": STEPS, "pictures": 1, "seconds": 1.0}
    return Told(f"{at.attempt}-{at.within}", str(ID), word, 1, 1, step, more)


def answer(status: Status = Status.PROCESSING, *, step: int = 0) -> Answer:
    stage, picture = (Stage.STEP, 1) if status is Status.PROCESSING else (None, None)
    standing = Standing(status, 1, 1, stage, picture, step, None)
    progress = {"step": step, "steps": STEPS, "image": 1, "images": 1}
    body = json.dumps({"id": str(ID), "queue": {"eta_seconds": 1.0}, "progress": progress})
    return Answer(ID, ID, standing, body, None, 0.0)


def hear(story: Story, seen: Answer | None) -> list[tuple[str, int | None]]:
    """One round of a reader's loop."""
    return shown(story.told(seen) + (story.of_row(seen) if seen else []))


def shown(news: list[Event]) -> list[tuple[str, int | None]]:
    return [(each.name, _data(each).get("step")) for each in news]


def _data(event: Event) -> dict[str, Any]:
    return json.loads(event.data) if isinstance(event.data, str) else dict(event.data)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told has had its time."""
    monkeypatch.setattr(eachlabs_story, "LATE_SECONDS", 0.0)


def followed(stream: Stream, last: Cursor | None = None) -> Story:
    story = Story(answer(step=1), stream, last)  # type: ignore[arg-type]
    assert story.begin(answer(step=1)) == []
    return story


def test_steps_that_the_row_shows_first_are_told_one_by_one() -> None:
    stream = Stream(told(Word.STARTED), told(Word.PROGRESS, 1))
    story = followed(stream)
    assert hear(story, answer(step=3)) == [("started", None), ("progress", 1)]
    assert story.behind
    stream.kept += [told(Word.PROGRESS, step) for step in (2, 3)]
    assert hear(story, answer(step=3)) == [("progress", 2), ("progress", 3)]
    assert not story.behind


def test_an_end_that_the_row_shows_first_waits_for_the_last_steps() -> None:
    stream = Stream(told(Word.STARTED), told(Word.PROGRESS, 8))
    story = followed(stream)
    assert hear(story, answer(Status.SUCCEEDED)) == [("started", None), ("progress", 8)]
    assert (story.behind, story.over) == (True, False)
    stream.kept += [told(Word.PROGRESS, 9), told(Word.SUCCEEDED)]
    assert hear(story, answer(Status.SUCCEEDED)) == [("progress", 9), ("succeeded", None)]
    assert story.over


def test_what_is_not_told_in_time_is_told_from_the_row(late: None) -> None:
    story = followed(Stream(told(Word.STARTED)))
    assert hear(story, answer(step=3)) == [("started", None), ("progress", 3)]
    assert hear(story, answer(Status.FAILED)) == [("failed", None)]


def test_a_start_is_told_by_whoever_knows_it_first() -> None:
    stream = Stream()
    story = Story(answer(Status.QUEUED), stream, None)  # type: ignore[arg-type]
    waiting = answer(Status.QUEUED)
    waiting = replace(waiting, body=json.dumps({"id": str(ID), "queue": {"position": 1}}))
    waiting.standing = replace(waiting.standing, attempt=0)
    assert shown(story.begin(waiting)) == [("queued", None)]
    assert hear(story, answer(step=2)) == [("started", None)]
    stream.kept += [told(Word.STARTED), told(Word.PROGRESS, 1), told(Word.PROGRESS, 2)]
    assert hear(story, answer(step=2)) == [("progress", 1), ("progress", 2)]


def test_whoever_comes_when_the_beginning_is_not_kept_any_more_gets_it_summed_up() -> None:
    stream = Stream(told(Word.PROGRESS, 4), told(Word.PROGRESS, 5))
    story = Story(answer(step=4), stream, None)  # type: ignore[arg-type]
    assert [each.name for each in story.begin(answer(step=4))] == ["snapshot"]
    assert hear(story, answer(step=4)) == [("progress", 5)]


@pytest.mark.parametrize("kept", [[], None])
def test_one_that_ended_long_ago_is_told_at_once(kept: list[Told] | None) -> None:
    stream = Stream()
    stream.kept = kept
    ended = answer(Status.SUCCEEDED)
    story = Story(ended, stream, None)  # type: ignore[arg-type]
    assert shown(story.begin(ended)) == [("succeeded", None)]
    assert story.over
