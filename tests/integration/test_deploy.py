"""What `deploy/` and the compose file tell operators is true: files parse, name what exists, and really start it."""

import dataclasses
import fnmatch
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sysconfig
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
import yaml  # type: ignore[import-untyped]

from fluxfarm import upkeep
from fluxfarm.cli.main import main
from fluxfarm.database import Database
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.settings import PREFIX, Settings
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("fluxfarm-")}
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
DOCKERFILES = sorted((ROOT / "deploy").glob("Dockerfile.*"))
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<how>:[?-])?(?P<more>[^}]*)\}")
SETTINGS = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
PATH = {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
FILLED_IN = {"POSTGRES_PASSWORD": "p", "VALKEY_PASSWORD": "v", "FLUXFARM_PUBLIC_URL": "https://pictures.example.com"}


def interpolated(value: str, environment: Mapping[str, str]) -> str:
    """As compose does it; a required variable that is missing or empty is an error."""

    def replace(found: re.Match[str]) -> str:
        given = environment.get(found["name"], "")
        if found["how"] == ":?":
            assert given, found["name"]
        return given or (found["more"] if found["how"] == ":-" else "")

    return VARIABLE.sub(replace, value).replace("$$", "$")


def example() -> dict[str, str]:
    """The variables of .env.example, with those filled in that an operator must fill in."""
    lines = [line.partition("=") for line in ENV_EXAMPLE.splitlines() if re.match(r"\w+=", line)]
    return {name: value for name, _, value in lines} | FILLED_IN


def environment_of(service: str) -> dict[str, str]:
    own = {name: interpolated(value, example()) for name, value in SERVICES[service]["environment"].items()}
    return example() | own


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command that a file of ours starts something of ours with, and where it stands."""
    for name, service in OURS.items():
        yield f"compose: {name}", service["command"]
    for dockerfile in DOCKERFILES:
        started = re.search(r"^CMD (\[.*\])$", dockerfile.read_text(), re.MULTILINE)
        assert started
        yield dockerfile.name, json.loads(started[1])
    for unit in UNITS:
        started = re.search(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        assert started
        yield unit.name, shlex.split(started[1].replace("%i", "flux-dev"))


@pytest.mark.parametrize(("where", "command"), [*commands()], ids=lambda each: each if isinstance(each, str) else "")
def test_every_command_starts_something_that_exists(where: str, command: list[str]) -> None:
    program, *words = command
    match Path(program).name:
        case "fluxfarm":
            group, chosen = main.make_context("fluxfarm", list(words)), words[0]
            assert chosen in main.commands
            main.commands[chosen].make_context(chosen, words[1:], parent=group)
        case "gunicorn":
            configuration, application = words[words.index("-c") + 1], words[2]
            assert importlib.util.find_spec(configuration.removeprefix("python:"))
            module = importlib.util.find_spec(application.partition(":")[0])
            assert module is not None
            assert module.origin is not None
            assert re.search(rf"^{application.partition(':')[2]} = ", Path(module.origin).read_text(), re.MULTILINE)
        case "python":
            assert words[0] == "-m"
            assert importlib.util.find_spec(words[1])
        case _:
            pytest.fail(f"{where} starts {program}, which is not ours")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_understands_a_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name.replace("@.", "@flux-dev.")
    copy.write_text(unit.read_text().replace("/opt/fluxfarm/bin", sysconfig.get_path("scripts")))
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("service", [*OURS])
def test_settings_of_a_service_are_known_and_parse(service: str) -> None:
    settings = Settings.from_environment(environment_of(service))
    assert settings.require_database_url().endswith("@postgres:5432/fluxfarm")
    assert settings.require_redis_url() == "redis://:v@valkey:6379/0"
    assert dict(settings.weights) == {"flux-dev": "flux-tiny"}


def test_files_name_settings_that_exist() -> None:
    files = [*UNITS, *DOCKERFILES, ROOT / "docker-compose.yml", ROOT / ".env.example"]
    named = {word for file in files for word in re.findall(r"FLUXFARM_\w+", file.read_text())}
    assert named - SETTINGS == set()


def test_everything_compose_asks_for_is_in_the_example_and_no_password_has_a_default() -> None:
    asked = {(found["name"], found["how"]) for found in VARIABLE.finditer(COMPOSE_TEXT)}
    offered = dict(re.findall(r"^(\w+)=(.*)$", ENV_EXAMPLE, re.MULTILINE))
    assert {name for name, _ in asked} <= offered.keys()
    for needed in FILLED_IN:
        assert {how for name, how in asked if name == needed} == {":?"}
        assert offered[needed] == ""


@pytest.mark.parametrize("name", [*SERVICES])
def test_a_container_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith(("0", "root"))
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_servers_are_on_a_network_without_a_way_out() -> None:
    inside = {name for name, service in SERVICES.items() if service["networks"] == ["inside"]}
    assert inside == {"postgres", "valkey"}
    assert yaml.safe_load(COMPOSE_TEXT)["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_made_from_pinned_packages_and_runs_without_root(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    installs = re.findall(r"pip install (?:.|\\\n)*?\n", text)
    assert installs
    assert all("-c constraints.txt" in line or "--no-index" in line for line in installs)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_torch_is_in_the_workers_image_alone(dockerfile: Path) -> None:
    found = re.search(
        r"^RUN (python -c (?:.|\\\n)*?)\s*(?:\\\n\s*)?> requirements\.txt$", dockerfile.read_text(), re.MULTILINE
    )
    assert found
    listed = subprocess.run(["sh", "-c", found[1]], cwd=ROOT, env=PATH, check=True, capture_output=True, text=True)
    packages = listed.stdout.split()
    assert {"celery[redis]", "gunicorn", "flask"} <= set(packages)
    assert ("torch" in packages) == (dockerfile.suffix == ".worker")


def test_what_images_need_reaches_the_builder_and_secrets_do_not() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept >= {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"}
    assert kept >= {"api", "fluxfarm", "migrations", "worker"}
    assert not any(name.startswith(".") for name in kept)


def test_files_beside_the_code_are_installed_with_it() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in ("api", "fluxfarm", "migrations", "worker"):
        files = [path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        names = [str(path.relative_to(ROOT / package)) for path in files if path.suffix != ".py"]
        patterns = declared.get(package, [])
        assert [name for name in names if not any(fnmatch.fnmatch(name, each) for each in patterns)] == []


@dataclasses.dataclass(frozen=True)
class Outside:
    """Runs services of the compose file outside containers: their commands and environment, our own servers."""

    environment: Mapping[str, str]
    database_url: str
    port: int

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def check(self, service: str) -> int:
        """The exit status of the service's health check."""
        kind, *test = SERVICES[service]["healthcheck"]["test"]
        test = [word.replace("$$", "$").replace(":8000", f":{self.port}") for word in test]
        command = ["sh", "-c", *test] if kind == "CMD-SHELL" else test
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=30, check=False).returncode

    def start(self, service: str) -> subprocess.Popen[bytes]:
        command = [word.replace("0.0.0.0:8000", f"127.0.0.1:{self.port}") for word in SERVICES[service]["command"]]
        return subprocess.Popen(command, env=self.environment)

    def connections(self, name: str) -> int:
        with psycopg.connect(self.database_url) as connection:
            asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            row = connection.execute(asked, [name]).fetchone()
            assert row is not None
            return int(row[0])


@pytest.fixture(scope="module")
def outside(
    postgres: PrivatePostgres, valkey: PrivateValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outside]:
    """Over a database of its own, which the service `migrate` has brought from nothing to where it should be."""
    name = f"deploy_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    database_url = f"{postgres.url.rpartition('/')[0]}/{name}"
    replaced = {
        "FLUXFARM_DATABASE_URL": database_url,
        "FLUXFARM_REDIS_URL": valkey.url,
        "FLUXFARM_DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }
    outside = Outside({**environment_of("api"), **PATH, **replaced}, database_url, free_port())
    outside.run(*SERVICES["migrate"]["command"])
    yield outside
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def wait_until(check: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)


def test_services_start_and_are_found_healthy(outside: Outside) -> None:
    assert outside.check("api") != 0
    api, maintenance = outside.start("api"), outside.start("maintenance")
    try:
        wait_until(lambda: outside.check("api") == 0)
        body = requests.get(f"http://127.0.0.1:{outside.port}/readyz", timeout=60).json()
        assert body["parts"] == {"postgres": "ok", "schema": "ok", "redis": "ok"}
        wait_until(lambda: outside.connections("fluxfarm maintenance"))
        assert outside.run("fluxfarm", "keys", "create", "--name", "first").startswith("flx_")
    finally:
        for process in (api, maintenance):
            process.terminate()
        ended = [process.wait(15) for process in (api, maintenance)]
    assert ended == [0, 0]


def test_a_worker_is_healthy_once_it_has_reported_itself(outside: Outside) -> None:
    assert outside.check("worker") != 0
    database = Database(outside.database_url.replace("postgresql://", "postgresql+psycopg://"), pool_size=1)
    with database.session_scope() as session:
        worker = upkeep.WorkerIdentity(uuid.uuid4(), "flux-dev", "1", socket.gethostname(), os.getpid(), "cpu")
        upkeep.sign_of_life(session, worker)
    database.close()
    assert outside.check("worker") == 0
