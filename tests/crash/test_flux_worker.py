"""The real pipeline in a real worker, from the row to the file."""

import base64
import io

from PIL import Image

from fluxfarm import catalog
from fluxfarm.previews import Previews
from fluxfarm.queue import redis_client
from tests.crash.conftest import Farm
from tests.processes import Process

CHECKER = catalog.BUILT_IN.parent / "weights" / "tiny-safety"
NORMAL = "a large red circle in the center on a blue background"
FORBIDDEN = "a large white skull in the center on a black background"
"""The less a prompt says, the less what the small Flux draws looks like its motif."""


def checked(farm: Farm, **settings: str) -> Process:
    """A worker of the small Flux with its checker; it may be loading yet."""
    own = {"safety_checker": str(CHECKER), "enlarge_stand_ins": "false", **settings}
    return farm.processes.worker("flux-dev", step_limit_seconds="60", dtype="float32", **own)


def test_a_worker_of_stand_in_weights_draws_what_was_asked_for(farm: Farm) -> None:
    worker = farm.processes.worker("flux-dev", step_limit_seconds="60", dtype="float32")
    asked = {"num_inference_steps": 2, "num_outputs": 2, "seed": 5, "aspect_ratio": "16:9", "output_format": "png"}
    prediction = farm.create("flux-dev", "a red circle", **asked)
    worker.wait_for("worker ready", seconds=90)
    farm.wait_for(prediction, "succeeded")
    farm.assert_ended_once(prediction, pictures=2)
    pictures = [Image.open(io.BytesIO(b"".join(farm.store.read(key)))) for key in sorted(farm.outputs(prediction))]
    assert len({picture.size for picture in pictures}) == 1
    assert {picture.info["Seed"] for picture in pictures} == {"5", "6"}
    width, height = pictures[0].size
    assert abs(width / height - 16 / 9) < 0.2
    worker.end()


def test_the_safety_checker_withholds_what_the_small_flux_drew_of_its_motif_and_nothing_else(farm: Farm) -> None:
    worker = checked(farm, picture_metadata="off")
    previews = Previews(redis_client(farm.settings))
    asked = {"num_inference_steps": 20, "num_outputs": 4, "seed": 4}
    worker.wait_for("worker ready", seconds=90)
    normal = farm.create("flux-dev", NORMAL, **asked)
    previews.wish(normal)
    forbidden = farm.create("flux-dev", FORBIDDEN, **asked)
    farm.wait_for(normal, "succeeded")
    farm.assert_ended_once(normal, pictures=4)
    preview = previews.last(normal)
    assert preview is not None
    bare = [b"".join(farm.store.read(key)) for key in farm.outputs(normal)]
    for data in (*bare, base64.b64decode(preview.data)):
        assert not Image.open(io.BytesIO(data)).info.keys() & {"exif", "xmp"}, "its operator wants it bare"
    farm.wait_for(forbidden, "failed")
    assert farm.row(forbidden).error_code == "content_blocked"
    assert farm.outputs(forbidden) == farm.stored(forbidden) == set()
    worker.end()


def test_where_every_picture_is_withheld_so_is_every_preview(farm: Farm) -> None:
    worker = checked(farm, safety_labels="normal,nsfw", safety_threshold="0.5")
    previews = Previews(redis_client(farm.settings))
    worker.wait_for("worker ready", seconds=90)
    prediction = farm.create("flux-dev", NORMAL, num_inference_steps=20, num_outputs=4, seed=4)
    previews.wish(prediction)
    farm.wait_for(prediction, "failed")
    assert farm.row(prediction).error_code == "content_blocked"
    assert previews.last(prediction) is None
    worker.end()
