"""Previews among the events of one prediction, for readers that ask for them."""

import time

from api.doors.eachlabs_story import Story
from api.seen import Answer
from api.sse import Cursor, Event
from fluxfarm.moves import BACK_IN_QUEUE, Place, Word
from fluxfarm.previews import Preview, Previews

MEDIA_TYPE = "image/webp"
WISH_AGAIN_SECONDS = 10.0


class PreviewsOf:
    """What one reader is shown of one prediction: of each preview either all or nothing, and none of them twice."""

    def __init__(self, seen: Answer, previews: Previews, last: Cursor | None, *, wanted: bool) -> None:
        self._prediction = seen.id
        self._shown_id = str(seen.shown_id)
        self._previews = previews
        self._wanted = wanted
        self._shown = last.place if last else Place(0, 0)
        self._wish_at = 0.0

    def told(self, story: Story) -> list[Event]:
        """The latest, if it is new to the reader; they are made for as long as this is asked now and then.

        It adds nothing to the story, so it has the id of what was told last: whoever is cut off goes on after that.
        """
        if not self._wanted or story.over:
            return []
        self._wish()
        found, at = self._previews.last(self._prediction), story.at.place
        if found is None or not (self._shown < found.place <= at and _renders(at, found.attempt)):
            return []
        self._shown = found.place
        return [Event(Word.PREVIEW, str(story.at), self._details(found))]

    def _wish(self) -> None:
        if time.monotonic() >= self._wish_at:
            self._wish_at = time.monotonic() + WISH_AGAIN_SECONDS
            self._previews.wish(self._prediction)

    def _details(self, preview: Preview) -> dict[str, object]:
        return {
            "id": self._shown_id,
            "step": preview.step,
            "steps": preview.steps,
            "image": preview.picture,
            "media_type": MEDIA_TYPE,
            "width": preview.width,
            "height": preview.height,
            "data": f"data:{MEDIA_TYPE};base64,{preview.data}",
        }


def _renders(at: Place, attempt: int) -> bool:
    return at.attempt == attempt and at.within < BACK_IN_QUEUE
