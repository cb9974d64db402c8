"""The whole farm by its one command, as its user would use it: README's curl, the command line, stops and starts."""

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from fluxfarm.catalog import stand_ins
from fluxfarm.settings import Settings
from tests.loras import lora

pytestmark = pytest.mark.xdist_group("farm")

ROOT = Path(__file__).parents[2]
FLUXFARM = [sys.executable, "-m", "fluxfarm.cli"]
PATIENCE_SECONDS = 90
MODELS = tuple(stand_ins(Settings()))
TINY = ROOT / "fluxfarm" / "weights" / "flux-tiny" / "transformer"


@dataclass(frozen=True, slots=True)
class Farm:
    """A farm in a directory of its own, laid out as a clone's: data in `.fluxfarm`."""

    home: Path
    process: subprocess.Popen[bytes]
    url: str
    api_key: str

    @property
    def log(self) -> str:
        return (self.home / "up.log").read_text()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "FLUXFARM_DATA_DIR": str(self.home / ".fluxfarm")}
        return subprocess.run(
            [*FLUXFARM, *words], cwd=self.home, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def get(self, prediction: str) -> dict[str, object]:
        headers = {"X-API-Key": self.api_key}
        found: dict[str, object] = requests.get(
            f"{self.url}/v1/prediction/{prediction}", headers=headers, timeout=60
        ).json()
        return found


def start(home: Path) -> Farm:
    ready = home / "ready.json"
    ready.unlink(missing_ok=True)
    words = [*FLUXFARM, "up", "--port", "0", "--data-dir", ".fluxfarm", "--ready-file", "ready.json"]
    environment = {**os.environ, "FLUXFARM_ENLARGE_STAND_INS": "false", "FLUXFARM_LORA_DIR": str(home / "loras")}
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen(words, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready.exists():
        assert process.poll() is None, (home / "up.log").read_text()
        assert time.monotonic() < deadline, (home / "up.log").read_text()
        time.sleep(0.05)
    return Farm(home, process, **json.loads(ready.read_text()))


def processes_of(home: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(home).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_until_gone(home: Path) -> None:
    deadline = time.monotonic() + 60
    while left := processes_of(home):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def finished(farm: Farm, prediction: str) -> dict[str, object]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (seen := farm.get(prediction))["status"] in ("starting", "processing"):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    return seen


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clone")


@pytest.fixture(scope="module")
def farm(home: Path) -> Iterator[Farm]:
    running = start(home)
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(15) == 0
    wait_until_gone(home)


def test_the_readmes_curl_draws_a_picture(farm: Farm) -> None:
    blocks = re.findall(r"```sh\n(curl .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    created = bash(farm, blocks[0])
    assert created["status"] == "success"
    finished(farm, str(created["predictionID"]))
    seen = bash(farm, blocks[1].replace("PREDICTION_ID", str(created["predictionID"])))
    assert seen["status"] == "success"
    picture = requests.get(str(seen["output"]), timeout=60)
    with Image.open(BytesIO(picture.content)) as opened:
        opened.load()
        assert opened.format == "WEBP"
        assert opened.width > opened.height


def bash(farm: Farm, command: str) -> dict[str, object]:
    command = command.replace("http://127.0.0.1:8000", farm.url)
    answer = subprocess.run(["bash", "-c", command], cwd=farm.home, capture_output=True, text=True, check=True)
    parsed: dict[str, object] = json.loads(answer.stdout)
    return parsed


def test_the_banner_has_a_curl_that_works_when_pasted(farm: Farm) -> None:
    line = next(line for line in farm.log.splitlines() if line.startswith("curl "))
    assert bash(farm, line)["status"] == "success"
    assert "stand-in weights" in farm.log
    assert shlex.split(line)


def test_predict_saves_what_was_asked_for(farm: Farm) -> None:
    asked = ("a red circle", "-o", "circle.png", "--num_outputs", "2", "--seed", "5", "--aspect-ratio", "3:2", "--json")
    done = farm.run("predict", *asked)
    assert done.returncode == 0, done.stderr
    prediction = json.loads(done.stdout)
    assert [image["seed"] for image in prediction["images"]] == [5, 6]
    for number in (1, 2):
        with Image.open(farm.home / f"circle-{number}.png") as opened:
            assert opened.format == "PNG"
            assert opened.size == (prediction["images"][0]["width"], prediction["images"][0]["height"])
    again = farm.run(
        "predict", "a red circle", "-o", "like.webp", "--image", "circle-1.png", "--prompt-strength", "0.5"
    )
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", "x", "--guidance", "99"), "input.guidance: must be a number from 0 to 10"),
        (("predict", "x", "--image", "nowhere.png"), "not a URL, data URI or file"),
        (("predict", "x", "--model", "flux-def"), "did you mean 'flux-dev'"),
        (("keys", "revoke", "nobody"), "no key with the id 'nobody'"),
        (("up", "--data-dir", ".fluxfarm"), "already runs"),
    ],
)
def test_errors_are_one_sentence(farm: Farm, words: tuple[str, ...], said: str) -> None:
    done = farm.run(*words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_makes_it_again_and_finds_the_model_for_a_mask(farm: Farm) -> None:
    first = json.loads(farm.run("predict", "a red circle", "-o", "one.png", "--json").stdout)
    again = json.loads(farm.run("predict", "--again", str(first["id"]), "-o", "two.png", "--json").stdout)
    made_with = farm.get(str(first["id"]))["made_with"]
    assert isinstance(made_with, dict)
    assert made_with["weights"]["name"] == "flux-tiny"
    assert len(made_with["weights"]["sha256"]) == 64
    assert (made_with["scheduler"], made_with["dtype"]) == ("FlowMatchEulerDiscreteScheduler", "float32")
    assert made_with["libraries"].keys() == {"torch", "diffusers", "transformers"}
    assert again["images"][0]["sha256"] == first["images"][0]["sha256"]
    Image.new("L", (64, 64), 255).save(farm.home / "mask.png")
    asked = ("a blue square on a white background", "--image", "one.png", "--mask", "mask.png", "--json")
    filled = json.loads(farm.run("predict", *asked).stdout)
    assert (filled["status"], filled["model"]) == ("success", "flux-fill-dev")
    assert "flux chose flux-fill-dev for mask." in filled["notices"]


def predicted(farm: Farm, *words: str) -> dict[str, Any]:
    done = farm.run("predict", *words, "--json")
    assert done.returncode == 0, done.stderr
    prediction: dict[str, Any] = json.loads(done.stdout)
    return prediction


def test_a_lora_changes_the_picture_exactly_and_leaves_nothing_behind(farm: Farm) -> None:
    style = farm.home / "loras" / "style.safetensors"
    style.parent.mkdir()
    style.write_bytes(lora(TINY))
    asked = ("a red circle", "--seed", "5", "--output-format", "png")
    before = predicted(farm, *asked)
    worn = predicted(farm, *asked, "--loras", '[{"file": "style.safetensors", "scale": 0.7}]')
    after = predicted(farm, *asked)
    again = predicted(farm, "--again", worn["id"])
    bits = [each["images"][0]["sha256"] for each in (before, worn, after, again)]
    assert bits == [bits[0], bits[1], bits[0], bits[1]]
    assert bits[0] != bits[1]
    assert again["made_with"]["loras"] == [hashlib.sha256(lora(TINY)).hexdigest()]
    assert after["made_with"]["loras"] == []
    url, key = f"{farm.url}/v1/prediction/{worn['id']}/again", {"X-API-Key": farm.api_key}
    remix = {"redux_image": "https://example.com/a.png", "loras": None}
    answer = requests.post(url, headers=key, json={"model": "flux-redux-dev", "input": remix}, timeout=10)
    assert answer.status_code == 200, answer.text
    style.write_bytes(lora(TINY, seed=1))
    changed = farm.run("predict", "--again", worn["id"])
    assert (changed.returncode, "loras[0]: its file has not the sha256" in changed.stderr) == (1, True), changed.stderr


def test_keys_are_made_listed_and_revoked(farm: Farm) -> None:
    made = json.loads(farm.run("keys", "create", "--name", "short", "--json").stdout)
    headers = {"X-API-Key": made["key"]}
    asked = {"model": "flux-dev", "input": {"prompt": "x", "num_inference_steps": 1}}
    create = lambda: requests.post(f"{farm.url}/v1/prediction", headers=headers, json=asked, timeout=60)  # noqa: E731
    assert create().status_code == 200
    listed = json.loads(farm.run("keys", "list", "--json").stdout)
    assert made["id"] in [key["id"] for key in listed]
    assert made["key"] not in farm.run("keys", "list").stdout
    assert farm.run("keys", "revoke", made["id"]).returncode == 0
    assert create().status_code == 401


def test_status_models_and_doctor_tell_the_truth(farm: Farm) -> None:
    status = json.loads(farm.run("status", "--json").stdout)
    assert {worker["model"] for worker in status["workers"]} == set(MODELS)
    assert len({worker["pid"] for worker in status["workers"]}) == 2
    listed = farm.run("models").stdout
    assert all(slug in listed for slug in MODELS)
    examined = farm.run("doctor")
    assert (examined.returncode, "MISSING" in examined.stdout) == (0, False), examined.stdout


def test_no_prompt_and_no_key_is_in_the_log(farm: Farm) -> None:
    drawn = farm.run("predict", "an unmistakable walrus", "-o", "walrus.webp", "--json")
    prediction = json.loads(drawn.stdout)
    deadline = time.monotonic() + 60
    while f"prediction succeeded  prediction={prediction['id']}" not in farm.log:
        assert time.monotonic() < deadline, farm.log
        time.sleep(0.05)
    banner = re.compile(r"fluxfarm is ready.*?^curl [^\n]*$", re.DOTALL | re.MULTILINE)
    assert banner.search(farm.log)
    said = banner.sub("", farm.log)
    assert "walrus" not in said
    assert farm.api_key not in said
    assert str(prediction["output"]).partition("sig=")[2] not in said


def test_a_second_start_keeps_everything_after_a_stop_and_after_a_kill(home: Path, farm: Farm, tmp_path: Path) -> None:
    first = start(tmp_path)
    created = bash(first, next(line for line in first.log.splitlines() if line.startswith("curl ")))
    prediction = str(created["predictionID"])
    output = finished(first, prediction)["output"]
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(15) == 0
    wait_until_gone(tmp_path)

    second = start(tmp_path)
    assert second.api_key == first.api_key
    assert str(second.get(prediction)["output"]).split("/files/")[1] == str(output).split("/files/")[1]
    second.process.kill()
    second.process.wait()
    wait_until_gone(tmp_path)

    third = start(tmp_path)
    assert third.get(prediction)["status"] == "success"
    third.process.send_signal(signal.SIGTERM)
    assert third.process.wait(15) == 0
    wait_until_gone(tmp_path)


@pytest.mark.parametrize(
    ("words", "variable", "said"),
    [
        (("keys", "list"), ("FLUXFARM_DATABASE_URL", "postgresql://u:p@localhost:port/n"), "its port must be a number"),
        (("doctor",), ("FLUXFARM_REDIS_URL", "redis://localhost:port/0"), "its port must be a number"),
        (("migrate",), ("FLUXFARM_DATABASE_URL", "postgresql://u:p@127.0.0.1:1/n"), "The database"),
        (("models",), ("FLUXFARM_MODELS", ","), "must name at least one"),
        (("up",), ("FLUXFARM_BLOCKED_PROMPTS", "nowhere.txt"), "nowhere.txt cannot be read"),
        (("doctor",), ("FLUXFARM_BLOCKED_PROMPTS", "nowhere.txt"), "nowhere.txt cannot be read"),
        (("predict", "x", "-o", "nowhere/x.webp"), ("FLUXFARM_URL", "http://127.0.0.1:1"), "no directory"),
        (("predict", "x"), ("FLUXFARM_URL", "http://127.0.0.1:1"), "No answer from http://127.0.0.1:1"),
    ],
)
def test_wrong_surroundings_are_one_sentence_too(
    tmp_path: Path, words: tuple[str, ...], variable: tuple[str, str], said: str
) -> None:
    told = {"FLUXFARM_API_KEY": "x", "FLUXFARM_DATA_DIR": str(tmp_path), variable[0]: variable[1]}
    done = subprocess.run(
        [*FLUXFARM, *words],
        cwd=tmp_path,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
