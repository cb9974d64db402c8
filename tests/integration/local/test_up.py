"""`fluxfarm up` with its real servers and small programs in the place of the API and the workers."""

import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.running import running
from fluxfarm.local.valkey import PrivateValkey

SCRIPT = Path(__file__).with_name("farm_of_stand_ins.py")


class Farm:
    """A `fluxfarm up` over one data directory."""

    def __init__(self, traces, eventually: Callable[..., None], tmp_path: Path) -> None:
        self.traces, self.eventually = traces, eventually
        self.data, self.ready_file, self.code = tmp_path / "data", tmp_path / "ready.json", tmp_path / "code.json"
        self.log = tmp_path / "log"

    def start(self, *words: str, **code: str) -> subprocess.Popen[bytes]:
        self.code.write_text(json.dumps(code))
        self.ready_file.unlink(missing_ok=True)  # one that was killed leaves it
        command = [sys.executable, str(SCRIPT), str(self.code), "--data-dir", str(self.data), *words]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*command, "--ready-file", str(self.ready_file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.traces.environment,
            )

    @contextmanager
    def up(self, *words: str, **code: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
        """Until it is ready; stopped afterwards, if it still runs."""
        process = self.start("--port", "0", *words, **code)
        try:
            self.eventually(lambda: self.ready_file.exists() or process.poll() is not None, 30)
            assert process.poll() is None, self.log.read_text()
            yield process, json.loads(self.ready_file.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) in (0, -signal.SIGKILL), self.log.read_text()

    def failed(self, *words: str, **code: str) -> str:
        """What it said last when it could not start."""
        process = self.start(*words, **code)
        assert process.wait(30) == 1
        return self.log.read_text().splitlines()[-1]


@pytest.fixture
def farm(traces, eventually: Callable[..., None], tmp_path: Path) -> Farm:
    return Farm(traces, eventually, tmp_path)


def test_starts_stops_and_keeps_everything_for_the_next_time(farm: Farm) -> None:
    with farm.up() as (_, first):
        found = running(farm.data)
        assert found is not None
        assert (found.url, found.api_key) == (first["url"], first["api_key"])
        banner = farm.log.read_text()
        assert "stand-in weights serve flux-dev" in banner
        curl = shlex.split(next(line for line in banner.splitlines() if line.startswith("curl")))
        assert f"{first['url']}/v1/prediction" in curl
        assert f"X-API-Key: {first['api_key']}" in curl
        assert json.loads(curl[-1])["model"] == "flux-dev"
        for name in ("api_key", "running.json", "postgres.password", "valkey/valkey.conf"):
            assert stat.S_IMODE((farm.data / name).stat().st_mode) == 0o600
        assert stat.S_IMODE(farm.ready_file.stat().st_mode) == 0o600
    assert not farm.traces.living()
    assert running(farm.data) is None
    assert not farm.ready_file.exists()
    with farm.up() as (_, second):
        assert second["api_key"] == first["api_key"]
        assert "starts so far: 2" in farm.log.read_text()


def test_a_farm_that_is_not_shared_gives_no_token(farm: Farm, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fluxfarm.cli", "join-token"]

    def refused(data: Path) -> str:
        environment = {**farm.traces.environment, "FLUXFARM_DATA_DIR": str(data)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    with farm.up():
        assert "listens to this machine alone; start it with `fluxfarm up --share ADDRESS`" in refused(farm.data)
        assert "join-token" not in farm.log.read_text()
    assert "no farm runs on" in refused(tmp_path)


def test_a_second_one_on_the_same_data_says_who_runs(farm: Farm, tmp_path: Path) -> None:
    with farm.up() as (process, ready):
        other = Farm(farm.traces, farm.eventually, tmp_path)
        other.log, other.ready_file = tmp_path / "log2", tmp_path / "ready2.json"
        said = other.failed("--port", "0")
        assert said.startswith("Error: fluxfarm already runs on")
        assert f"process {process.pid}, {ready['url']}" in said
        assert running(farm.data) is not None


def test_killed_it_leaves_nothing_and_the_next_one_heals(farm: Farm) -> None:
    with farm.up() as (process, first):
        process.kill()
        process.wait()
        farm.eventually(lambda: not farm.traces.living(), 10)
        assert running(farm.data) is None
    with farm.up() as (_, second):
        assert second["api_key"] == first["api_key"]
        assert "starts so far: 2" in farm.log.read_text()


def test_a_killed_server_comes_back_where_it_was(farm: Farm) -> None:
    with farm.up():
        found = running(farm.data)
        assert found is not None
        pid = int((farm.data / "postgres" / "postmaster.pid").read_text().split("\n")[0])
        os.kill(pid, signal.SIGKILL)

        def back() -> bool:
            try:
                psycopg.connect(found.database_url).close()
            except psycopg.OperationalError:
                return False
            return "postgres ended (killed by SIGKILL" in farm.log.read_text()

        farm.eventually(back, 15)


def test_a_given_database_and_redis_take_the_place_of_the_private_ones(farm: Farm, tmp_path: Path) -> None:
    with (
        PrivatePostgres(tmp_path / "pg", tuning={"fsync": "off"}) as postgres,
        PrivateValkey(tmp_path / "vk") as valkey,
    ):
        given = {"FLUXFARM_DATABASE_URL": postgres.url, "FLUXFARM_REDIS_URL": valkey.url}
        with pytest.MonkeyPatch.context() as patch:
            kept = farm.traces.environment
            patch.setattr(type(farm.traces), "environment", {**kept, **given})
            with farm.up():
                assert not (farm.data / "postgres").exists()
                assert not (farm.data / "valkey").exists()
                assert not (farm.data / "api_key").exists()
                assert len(list(farm.data.glob("api_key-*"))) == 1
        assert postgres.answers()


def test_says_in_one_sentence_that_the_port_is_taken(farm: Farm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert farm.failed("--port", port).startswith(f"Error: port {port} on 127.0.0.1 is taken by another program")


def test_says_in_one_sentence_what_failed_on_the_way_up(farm: Farm) -> None:
    said = farm.failed("--port", "0", migrate="raise SystemExit('no such table')")
    assert said == "Error: migrate failed (exit code 1: no such table)"
    assert not farm.traces.living()


def test_gives_up_on_a_worker_that_crashes_again_and_again(farm: Farm) -> None:
    said = farm.failed("--port", "0", worker="raise SystemExit('no weights')", api="import time; time.sleep(600)")
    assert said == "Error: worker:flux-dev crashed 5 times within a minute (exit code 1: no weights)"
    assert not farm.traces.living()
