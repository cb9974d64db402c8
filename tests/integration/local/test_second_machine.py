"""Two machines, each a network namespace with a name and folders of its own: one runs the farm, the other joins it."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fluxfarm.local.join_token import JoinToken

FLUXFARM = (sys.executable, "-m", "fluxfarm.cli")
HOLD = "hostname {name} && ip link set lo up && echo ready && exec sleep infinity"
UP = ("up", "--port", "0", "--ready-file", "ready.json", "--devices", "none", "--share", "10.99.7.1")
PATIENCE = 60.0


def why_not() -> str:
    """Why there can be no second machine here; nothing if there can."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if absent := [name for name in ("unshare", "nsenter", "ip", "hostname") if shutil.which(name) is None]:
        return f"{absent[0]} is not installed"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "ip", "link", "set", "lo", "up"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else "this system allows no network namespaces"


pytestmark = [pytest.mark.xdist_group("farm"), pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]


@dataclass(frozen=True)
class Machine:
    holder: subprocess.Popen[bytes]
    home: Path
    environment: dict[str, str]

    def start(self, *words: str, log: str, **settings: str) -> subprocess.Popen[bytes]:
        inside = ("nsenter", "--target", str(self.holder.pid), "--net", "--uts")
        with (self.home / log).open("ab") as output:
            return subprocess.Popen(
                [*inside, *words],
                cwd=self.home,
                env={**self.environment, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *words: str) -> tuple[int, str]:
        """Exit status and all that was said."""
        (self.home / "said").unlink(missing_ok=True)
        return self.start(*words, log="said").wait(PATIENCE), (self.home / "said").read_text()

    def fluxfarm(self, *words: str) -> str:
        status, said = self.run(*FLUXFARM, *words)
        assert status == 0, said
        return said

    def log(self, name: str) -> str:
        return (self.home / name).read_text()


@contextmanager
def machine(name: str, home: Path, environment: dict[str, str]) -> Iterator[Machine]:
    home.mkdir()
    command = ["unshare", "--net", "--uts", "sh", "-c", HOLD.format(name=name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            yield Machine(holder, home, environment)
        finally:
            holder.kill()


def connect(one: Machine, other: Machine) -> None:
    """Lay a cable between two machines."""
    ends = [(one, "10.99.7.1/24"), (other, "10.99.7.2/24")]
    near, far = (str(each.holder.pid) for each in (one, other))
    made = ["ip", "link", "add", "cable", "netns", near, "type", "veth", "peer", "name", "cable", "netns", far]
    subprocess.run(made, check=True)
    for each, address in ends:
        assert each.run("ip", "address", "add", address, "dev", "cable") == (0, "")
        assert each.run("ip", "link", "set", "cable", "up") == (0, "")


@dataclass(frozen=True)
class Farm:
    """A farm on `main` that renders nothing itself, and a machine beside it."""

    main: Machine
    other: Machine
    eventually: Callable[..., None]

    @contextmanager
    def up(self) -> Iterator[dict[str, Any]]:
        ready = self.main.home / "ready.json"
        process = self.main.start(*FLUXFARM, *UP, log="up.log")
        try:
            self.eventually(lambda: ready.exists() or process.poll() is not None, PATIENCE)
            assert process.poll() is None, self.main.log("up.log")
            yield json.loads(ready.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, self.main.log("up.log")

    def token(self) -> str:
        """From the line that is to be pasted."""
        line = self.main.fluxfarm("join-token").splitlines()[-1]
        words = shlex.split(line)
        assert words[:3] == ["fluxfarm", "worker", "--join"]
        return words[3]

    def join(self, token: str, store: Path, log: str = "join.log") -> subprocess.Popen[bytes]:
        return self.other.start(
            *FLUXFARM, "worker", "--join", token, "--store", str(store), "--data-dir", log + ".d", log=log
        )

    def draw(self, file: str) -> None:
        self.main.fluxfarm("predict", "a red circle", "-o", file, "--num-inference-steps", "1")
        with Image.open(self.main.home / file) as picture:
            picture.load()


@pytest.fixture
def farm(traces, eventually: Callable[..., None], tmp_path: Path) -> Iterator[Farm]:
    quick = {"FLUXFARM_SWEEP_SECONDS": "0.5", "FLUXFARM_ENLARGE_STAND_INS": "false", "NO_COLOR": "1"}
    environment = {**traces.environment, **quick}
    with (
        machine("main", tmp_path / "main", environment) as main,
        machine("other", tmp_path / "other", traces.environment) as other,
    ):
        connect(main, other)
        yield Farm(main, other, eventually)
    eventually(lambda: not traces.living(), 10)


def test_a_machine_joins_with_one_line_draws_and_goes_on_after_a_restart_of_the_farm(farm: Farm) -> None:
    objects = farm.main.home / ".fluxfarm" / "objects"
    with farm.up():
        worker = farm.join(farm.token(), objects)
        farm.draw("first.webp")
        status = json.loads(farm.main.fluxfarm("status", "--json"))
        assert [(each["host"], each["device"], each["live"]) for each in status["workers"]] == [("other", "cpu", True)]
        assert "machine other: 1 of 1 workers live" in farm.main.fluxfarm("status")
    with farm.up():
        farm.draw("second.webp")
        assert worker.poll() is None
        assert farm.other.log("join.log").count("worker ready") == 1
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(15) == 0, farm.other.log("join.log")
        assert json.loads(farm.main.fluxfarm("status", "--json"))["workers"] == []
    assert not (farm.other.home / "join.log.d" / "objects").exists()


def test_a_machine_that_cannot_work_is_told_why_in_one_sentence(farm: Farm) -> None:
    wrong = farm.other.home / "wrong"
    wrong.mkdir()
    with farm.up():
        text = farm.token()
        token = JoinToken.decode(text)
        unshared = farm.join(text, wrong, log="unshared.log")
        assert refusal(farm, farm.join(text, farm.other.home / "nowhere")).startswith(
            f"there is no directory {wrong.parent}"
        )
        assert "is an old one" in refusal(
            farm, farm.join(replaced(token, "fluxfarm_worker:", "fluxfarm_worker:x"), wrong)
        )
        assert "does not answer at 10.99.7.9" in refusal(
            farm, farm.join(replaced(token, "10.99.7.1", "10.99.7.9"), wrong)
        )
        assert "no join token, or only a part" in refusal(farm, farm.join(text[:-9], wrong))
        assert refusal(farm, unshared, log="unshared.log") == (
            f"the farm does not find what this machine writes to {wrong}; mount the directory {token.objects} of main "
            "on this machine, and name the place where it is mounted with --store"
        )
    assert list(wrong.iterdir()) == []


def refusal(farm: Farm, worker: subprocess.Popen[bytes], log: str = "join.log") -> str:
    assert worker.wait(PATIENCE) == 1
    last = farm.other.log(log).splitlines()[-1]
    assert last.startswith("Error: ")
    return last.removeprefix("Error: ")


def replaced(token: JoinToken, old: str, new: str) -> str:
    assert old in token.database_url
    return replace(token, database_url=token.database_url.replace(old, new)).encode()


def test_the_superuser_does_not_get_in_from_another_machine(farm: Farm) -> None:
    ask = "import psycopg, sys; psycopg.connect(sys.argv[1]).execute('SELECT FROM predictions')"
    with farm.up():
        found = json.loads((farm.main.home / ".fluxfarm" / "running.json").read_text())
        port = found["database_url"].rpartition(":")[2]
        outside = found["database_url"].replace(f"127.0.0.1:{port}", f"10.99.7.1:{port}")
        assert farm.main.run(sys.executable, "-c", ask, found["database_url"]) == (0, "")
        assert "no pg_hba.conf entry" in farm.other.run(sys.executable, "-c", ask, outside)[1]
        token = JoinToken.decode(found["join_token"])
        assert farm.other.run(sys.executable, "-c", ask, token.database_url.replace("+psycopg", "")) == (0, "")
