"""The real pipeline in a real worker, from the row to the file."""

import io

from PIL import Image

from tests.crash.conftest import Farm


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
