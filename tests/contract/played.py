"""A worker played by the test, for what must stand still while it is looked at."""

import hashlib
import io
import uuid

from PIL import Image

from fluxfarm import lifecycle
from fluxfarm.announce import Announcer
from fluxfarm.catalog import load_catalog
from fluxfarm.database import Database
from fluxfarm.lifecycle import Claimed
from fluxfarm.moves import Moved, Word
from fluxfarm.outcomes import Progress, Remarks, Safety, StoredOutput, Withheld
from fluxfarm.settings import Settings
from fluxfarm.status import Stage
from fluxfarm.storage import object_key, open_store

WORKER = uuid.UUID(int=7)


def picture(color: str = "red", size: tuple[int, int] = (64, 64), form: str = "WEBP") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, form)
    return file.getvalue()


class PlayedWorker:
    """Claims what is queued for the model that nobody else serves."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._model = load_catalog(settings).model("unserved")
        self.store = open_store(settings)

    def claim(self) -> Claimed:
        with self._database.session_scope() as session:
            held = lifecycle.claim(
                session,
                model=self._model.slug,
                version=self._model.version,
                worker_id=WORKER,
                lease_seconds=300,
            )
        assert held is not None
        return held

    def step(self, held: Claimed, *, image: int, step: int, steps: int) -> None:
        progress = Progress(Stage.STEP, image, step, steps, 0.5)
        with self._database.session_scope() as session:
            lifecycle.renew(session, held, progress, 300)

    def hand_back(self, held: Claimed) -> None:
        with self._database.session_scope() as session:
            lifecycle.hand_back(session, held)

    def succeed(self, held: Claimed, *pictures: bytes | None) -> list[str]:
        """Store the pictures and complete; None is one that is withheld. Returns their object keys."""
        outputs = [self._stored(held, place, data) for place, data in enumerate(pictures) if data is not None]
        withheld = [
            Withheld(place, held.plan.seeds[place], "eye@1", "nsfw", 0.97)
            for place, data in enumerate(pictures)
            if data is None
        ]
        with self._database.session_scope() as session:
            lifecycle.complete(session, held, outputs, device_microseconds=1000, remarks=Remarks(withheld=withheld))
        return [output.object_key for output in outputs]

    def _stored(self, held: Claimed, place: int, data: bytes) -> StoredOutput:
        key = object_key(held.tenant_id, held.id, held.attempt, held.claim_id, place, "webp")
        self.store.put(key, data, "image/webp")
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
        return StoredOutput(
            position=place,
            object_key=key,
            media_type="image/webp",
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            width=width,
            height=height,
            render_width=width,
            render_height=height,
            crop=None,
            seed=held.plan.seeds[place],
            steps=held.plan.num_inference_steps,
            device_microseconds=1000,
            safety=Safety.UNCHECKED,
        )


class Telling(PlayedWorker):
    """Tells what it does, as a worker does."""

    def __init__(self, database: Database, settings: Settings, announcer: Announcer) -> None:
        super().__init__(database, settings)
        self._announcer = announcer

    def make_step(self, held: Claimed, step: int, *, steps: int) -> None:
        """One that the row does not show yet."""
        more = {"steps": steps, "pictures": 1, "seconds": step / 2}
        self._announcer.tell([Moved(held.id, held.key_id, held.attempt, Word.PROGRESS, 1, step, more)])
