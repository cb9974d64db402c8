"""Every door with every model it offers: a call as its reference has it, the answer compared, the picture opened.

`GOLDEN=write` writes the answers anew; look at what has changed before you keep them.
"""

import base64
import dataclasses
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image, ImageDraw

from fluxfarm import keys, tenants
from fluxfarm.catalog import Model, load_catalog, stand_ins
from fluxfarm.database import Database
from fluxfarm.input_fields import fields_of
from fluxfarm.kinds import Kind
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.settings import Settings
from fluxfarm.sizes import Size, render_size
from tests.api import PATIENCE_SECONDS, Api, running, serving, until
from tests.conftest import apart

pytestmark = pytest.mark.xdist_group("doors")

GOLDEN = Path(__file__).parent / "golden"
WRITE = os.environ.get("GOLDEN") == "write"
KNOWN = stand_ins(Settings())
MODELS = load_catalog(Settings(models=tuple(KNOWN), weights=tuple(KNOWN.items()))).models
OF_MODE = {"flux-canny-dev": "canny", "flux-depth-dev": "depth"}
OFFERED = [
    (door, slug)
    for door in ("eachlabs", "oxen", "nim")
    for slug, model in MODELS.items()
    if door != "nim" or model.kind in (Kind.TEXT, Kind.CONTROL)
]
PROMPT = "a large red circle on a blue background"
SECRET = re.compile(
    r"(id|url|output|urls|logs|sha256|bytes|b64_json|base64|cost|version|metrics|created|progress|made_with)|.*_(id|at|url)"
)
"""Of an answer, what is another each time."""


@dataclass(frozen=True, slots=True)
class Farm:
    api: Api
    key: str

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = requests.post(self.api.url + path, json=body, headers=headers, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def farm(settings: Settings, postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """One worker process for all models."""
    own = apart(settings, postgres, "doors", 3)
    own = dataclasses.replace(own, models=tuple(KNOWN), weights=tuple(KNOWN.items()), api_workers=1)
    database = Database(own.require_database_url(), pool_size=1)
    with database.session_scope() as session:
        tenants.ensure(session, "doors", by="test")
        limits = {"creates_per_minute": 1000, "max_active": 1000}
        issued = keys.issue(session, tenant="doors", settings=limits, by="test")
    database.close()
    logs = tmp_path_factory.mktemp("doors")
    words = [word for slug in KNOWN for word in ("--model", slug)]
    with running("worker", *words, settings=own, log=logs / "worker.log"), serving(own, logs) as api:
        ready = f"{api.url}/v1/health/ready"
        until(lambda: requests.get(ready, timeout=60).ok, (logs / "worker.log").read_text)
        yield Farm(api, issued.key)


def scene(mode: str = "RGB") -> str:
    """A blue ground with a red square in it; as a mask, what of it to paint."""
    image = Image.new(mode, (128, 128), "black" if mode == "L" else "blue")
    ImageDraw.Draw(image).rectangle((40, 40, 87, 87), fill="white" if mode == "L" else "red")
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def pictures(model: Model) -> dict[str, Any]:
    """What the model cannot do without."""
    needed = {field.name: scene() for field in fields_of(model) if field.required and field.name != "prompt"}
    if model.kind is Kind.FILL:
        return {**needed, "mask": scene("L")}
    return needed


def by_eachlabs(farm: Farm, model: Model) -> tuple[dict[str, Any], bytes]:
    fields = {"prompt": PROMPT, "seed": 7, "num_inference_steps": "4", **pictures(model)}
    told = farm.post("/v1/prediction/run", {"model": model.slug, "version": "0.0.1", "input": fields})
    assert told["status"] == "success", told
    return told, requests.get(told["output"], timeout=60).content


def by_oxen(farm: Farm, model: Model) -> tuple[dict[str, Any], bytes]:
    fields = {"model": model.aliases[0], "prompt": PROMPT, "seed": 7, "num_inference_steps": 4}
    (queued,) = farm.post("/api/ai/queue", {**fields, **pictures(model)})["generations"]
    path = f"{farm.api.url}/api/ai/queue/{queued['generation_id']}?wait=60"
    told = requests.get(path, headers={"Authorization": f"Bearer {farm.key}"}, timeout=PATIENCE_SECONDS + 5).json()
    assert told["status"] == "succeeded", told
    return told, requests.get(told["result_url"], timeout=60).content


def by_nim(farm: Farm, model: Model) -> tuple[dict[str, Any], bytes]:
    mode = OF_MODE.get(model.slug, "base")
    name = "black-forest-labs/flux.1-dev" if mode != "base" else model.aliases[-1]
    body = {"prompt": PROMPT, "mode": mode, "seed": 7, "steps": 4 if model.slug == "flux-schnell" else 5}
    control = {"image": "data:image/png;example_id,0", "preprocess_image": True} if mode != "base" else {}
    told = farm.post(f"/v1/genai/{name}", {**body, **control})
    return told, base64.b64decode(told["artifacts"][0]["base64"])


BY: dict[str, Callable[[Farm, Model], tuple[dict[str, Any], bytes]]] = {
    "eachlabs": by_eachlabs,
    "oxen": by_oxen,
    "nim": by_nim,
}
FORMS = {"eachlabs": "WEBP", "oxen": "WEBP", "nim": "JPEG"}


def plain(value: Any, name: str = "") -> Any:
    """The answer without what is another each time."""
    if value is not None and (SECRET.fullmatch(name) or str(value).startswith("http")):
        return f"<{name}>"
    if isinstance(value, dict):
        return {key: plain(each, key) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("said", [{}, {"preprocess_image": False}], ids=["found", "given"])
def test_an_example_is_followed_in_its_depth(farm: Farm, said: dict[str, Any]) -> None:
    body = {"prompt": PROMPT, "mode": "depth", "image": "data:image/png;example_id,0", "steps": 12, "seed": 3, **said}
    told = farm.post("/v1/genai/black-forest-labs/flux.1-dev", body)
    with Image.open(io.BytesIO(base64.b64decode(told["artifacts"][0]["base64"]))) as image:
        sky, house = (image.convert("RGB").resize((8, 8), Image.Resampling.BOX).getpixel(at) for at in ((0, 0), (4, 4)))
    assert isinstance(sky, tuple)
    assert isinstance(house, tuple)
    assert house[0] > house[2] + 60
    assert sky[2] > sky[0] + 60


def test_what_is_extended_may_keep_the_area_that_it_then_has(farm: Farm) -> None:
    wide = io.BytesIO()
    Image.new("RGB", (448, 256), "blue").save(wide, "PNG")
    image = f"data:image/png;base64,{base64.b64encode(wide.getvalue()).decode()}"
    fields = {"prompt": PROMPT, "image": image, "expand_bottom": 64, "megapixels": "match_input"}
    body = {"model": "flux-fill-dev", "input": {**fields, "num_inference_steps": 1}}
    told = farm.post("/v1/prediction/run", body)
    small = render_size(Size(448, 320), MODELS["flux-fill-dev"].weights.native_side)
    with Image.open(io.BytesIO(requests.get(told["output"], timeout=60).content)) as drawn:
        assert drawn.size == (small.width, small.height), "the tests' farm enlarges nothing"


def test_a_model_of_a_mode_takes_that_mode(farm: Farm) -> None:
    path, image = "/v1/genai/black-forest-labs/flux.1-canny-dev", "data:image/png;example_id,1"
    body = {"prompt": PROMPT, "mode": "canny", "image": image, "steps": 5}
    assert farm.post(path, body)["artifacts"][0]["finishReason"] == "SUCCESS"
    headers = {"Authorization": f"Bearer {farm.key}"}
    answer = requests.post(farm.api.url + path, json={**body, "mode": "depth"}, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "mode"])


@pytest.mark.parametrize(("door", "slug"), OFFERED)
def test_each_door_with_each_model(farm: Farm, door: str, slug: str, tmp_path: Path) -> None:
    told, data = BY[door](farm, MODELS[slug])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == FORMS[door]
        assert any(low + 30 < high for low, high in image.convert("RGB").getextrema()), "it shows nothing"
        if kept := os.environ.get("KEEP"):
            image.save(Path(kept) / f"{door}-{slug}.png")
    golden = GOLDEN / f"{door}-{slug}.json"
    found = json.dumps(plain(told), indent=1) + "\n"
    if WRITE:
        golden.write_text(found)
    assert found == golden.read_text(), "GOLDEN=write writes it anew, if this is what it should say now"
