"""How the pictures that came with a prediction are brought to the size that is drawn."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fluxfarm.catalog import Model, load_catalog, stand_ins
from fluxfarm.errors import PredictionFailed
from fluxfarm.inputs import parse
from fluxfarm.kinds import Control
from fluxfarm.plans import Plan
from fluxfarm.safety_policy import Ruling
from fluxfarm.settings import Settings
from fluxfarm.sizes import Size
from worker.fitting import Fitted, fitted, source_of

MODELS = load_catalog(Settings(models=tuple(stand_ins(Settings())))).models
URL = "https://example.com/a.png"


def png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def plain(width: int = 80, height: int = 40, colour: Any = "red") -> bytes:
    return png(Image.new("RGB", (width, height), colour))


def fit(model: Model, sent: dict[str, bytes], **changes: Any) -> Fitted:
    needed = {"prompt": "x", "control_image" if "control_image" in sent else "image": URL}
    plan = dataclasses.replace(Plan.of(parse(model, needed), kept={}, ruling=Ruling()), **changes)
    return fitted(model, plan, sent, source_of(model, plan, sent), Size(64, 32))


def refusal(model: Model, sent: dict[str, bytes], **changes: Any) -> PredictionFailed:
    with pytest.raises(PredictionFailed) as caught:
        fit(model, sent, **changes)
    return caught.value


def test_a_mask_is_cut_as_its_picture_is() -> None:
    mask = Image.new("L", (160, 160), 0)
    mask.paste(255, (80, 0, 160, 160))
    found = fit(MODELS["flux-dev"], {"image": plain(80, 80), "mask": png(mask)})
    assert found.pictures["image"].size == found.pictures["mask"].size == (64, 32)
    white = np.asarray(found.pictures["mask"]) >= 128
    assert white[:, 33:].all()
    assert not white[:, :31].any()
    assert found.crop == {"left": 0, "top": 20, "right": 80, "bottom": 60}


@pytest.mark.parametrize(("megapixels", "own"), [("1", (1024, 1024)), ("0.25", (512, 512))])
def test_what_is_changed_is_seen_whole_whatever_shape_is_drawn(megapixels: str, own: tuple[int, int]) -> None:
    found = fit(MODELS["flux-kontext-dev"], {"image": plain(80, 80)}, megapixels=megapixels)
    assert (found.pictures["before"].size, found.crop) == (own, None)


def test_a_mask_of_another_shape_is_refused() -> None:
    failure = refusal(MODELS["flux-dev"], {"image": plain(80, 40), "mask": plain(80, 80)})
    assert (failure.reason, "80 x 80" in failure.message) == ("mask_mismatch", True)


@pytest.mark.parametrize("name", ["image", "mask"])
def test_what_is_no_picture_is_named(name: str) -> None:
    failure = refusal(MODELS["flux-dev"], {"image": plain(), "mask": plain(), name: b"GIF89a"})
    assert failure.reason == "input_not_a_picture"
    assert failure.message.startswith(f"{name}: ")


def test_what_is_transparent_is_painted() -> None:
    picture = Image.new("RGBA", (64, 32), "red")
    picture.paste((0, 0, 0, 0), (0, 0, 16, 32))
    mask = np.asarray(fit(MODELS["flux-fill-dev"], {"image": png(picture)}).pictures["mask"])
    assert (mask[:, :16] == 255).all()
    assert (mask[:, 16:] == 0).all()


def test_without_anything_to_paint_it_says_so() -> None:
    assert refusal(MODELS["flux-fill-dev"], {"image": plain()}).reason == "nothing_to_fill"


def test_sides_are_extended_by_pixels_of_the_picture() -> None:
    found = fit(MODELS["flux-fill-dev"], {"image": plain(48, 24)}, expand=(16, 0, 0, 8))
    mask = np.asarray(found.pictures["mask"])
    assert (mask[:24, 16:] == 0).all()
    assert (mask[:, :16] == 255).all()
    assert (mask[24:] == 255).all()
    assert np.array_equal(np.asarray(found.pictures["image"])[0, 40], (255, 0, 0))


def test_a_shape_extends_both_sides_alike() -> None:
    found = fit(MODELS["flux-fill-dev"], {"image": plain(32, 32)}, width=1024, height=512)
    mask = np.asarray(found.pictures["mask"])
    assert (mask[:, 16:48] == 0).all()
    assert (mask[:, :16] == 255).all()
    assert (mask[:, 48:] == 255).all()


def test_a_canvas_has_an_end() -> None:
    failure = refusal(MODELS["flux-fill-dev"], {"image": plain(3000, 10)}, expand=(2000, 0, 0, 0))
    assert failure.reason == "picture_too_large"


def test_a_control_picture_is_looked_through_unless_it_is_a_map() -> None:
    depth = MODELS["flux-depth-dev"]
    assert fit(depth, {"control_image": plain()}).pictures["find"] is Control.DEPTH
    assert fit(depth, {"control_image": plain()}, preprocess_image=False).pictures["find"] is None
