"""What `fluxfarm up` runs, as data: the environment its parts share, and the parts themselves."""

import signal
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fluxfarm import starting
from fluxfarm.catalog import Catalog, load_catalog, tried_out
from fluxfarm.local.address import Address
from fluxfarm.local.devices import Assignment, assign
from fluxfarm.local.part import Part
from fluxfarm.local.server import PrivateServer
from fluxfarm.prompt_filter import PromptFilter
from fluxfarm.settings import Settings

WORK, DOOR, SERVERS = range(3)
"""Waves of stopping: who works, who lets in, and what both of them need."""
HAND_BACK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A farm that is to run: complete settings, and the environment that tells them to its parts."""

    settings: Settings
    catalog: Catalog
    address: Address
    environment: Mapping[str, str]

    @property
    def stand_ins(self) -> list[str]:
        return [slug for slug, model in self.catalog.models.items() if model.weights.stand_in]


def make_plan(environment: Mapping[str, str], settings: Settings, address: Address) -> Plan:
    """Fill in what was not given: stand-in weights, and the address that links start with.

    Raises:
        SettingsError: the settings name models or weights that are not there or may not be started, or a list of
            blocked prompts that cannot be read, or give an address that cannot be one.

    """
    if settings.database_url is not None:
        settings.require_database_url()
    if settings.redis_url is not None:
        settings.require_redis_url()
    settings = replace(tried_out(settings), public_url=settings.public_url or address.url)
    catalog = load_catalog(settings)
    for model in catalog.models.values():
        starting.require(model, settings)
    # The API reads it again; here one that is wrong is told once, before anything runs.
    PromptFilter.load(settings.blocked_prompts)
    told = {
        **environment,
        **quirks(catalog, environment),
        "FLUXFARM_DATA_DIR": str(settings.data_dir),
        "FLUXFARM_PUBLIC_URL": settings.public_url or address.url,
        "FLUXFARM_MODELS": ",".join(settings.models),
        "FLUXFARM_WEIGHTS": ",".join(f"{slug}={name}" for slug, name in settings.weights),
    }
    return Plan(settings, catalog, address, told)


def quirks(catalog: Catalog, environment: Mapping[str, str]) -> dict[str, str]:
    """What the programs that parts are made of should find in their environment."""
    told = {"PYTHONUNBUFFERED": "1"}
    if all(model.weights.stand_in for model in catalog.models.values()):
        told["HF_HUB_OFFLINE"] = "1"
        # So small a model is several times slower on more threads than one, above all where cores are shared.
        told["OMP_NUM_THREADS"] = environment.get("OMP_NUM_THREADS", "1")
    return told


def together(catalog: Catalog, slugs: Iterable[str] | None = None) -> list[tuple[str, ...]]:
    """Which models one worker process serves together: those that draw with the same weights.

    Small ones that are only tried out share two processes, so that any laptop holds the whole family.
    """
    models = [catalog.models[slug] for slug in slugs or catalog.models]
    found: dict[str, list[str]] = {}
    first = next((model.drawn_with.whence for model in models if model.weights.stand_in), None)
    for model in models:
        drawn_with = model.drawn_with.whence
        key = str(drawn_with == first) if model.weights.stand_in else drawn_with
        found.setdefault(key, []).append(model.slug)
    return [tuple(group) for group in found.values()]


def with_servers(plan: Plan, *, database_url: str, redis_url: str) -> Plan:
    """The plan once the servers' addresses are known; a caller's PG… variables must not bend the way there."""
    kept = plan.environment
    if plan.settings.database_url is None:
        kept = {name: value for name, value in kept.items() if not name.startswith("PG")}
    told = {**kept, "FLUXFARM_DATABASE_URL": database_url, "FLUXFARM_REDIS_URL": redis_url}
    settings = replace(plan.settings, database_url=database_url, redis_url=redis_url)
    return replace(plan, settings=settings, environment=told)


def server_part(name: str, server: PrivateServer) -> Part:
    return Part(
        name,
        server.next_command,
        server.environment(),
        stop_signal=server.stop_signal,
        wave=SERVERS,
    )


def migration(plan: Plan) -> Part:
    return _python("migrate", plan.environment, "fluxfarm.cli", "migrate")


def demo_key(plan: Plan) -> Part:
    """Prints the new key as JSON."""
    words = ("keys", "create", "--name", "demo", "--tenant", "demo", "--json")
    return _python("keys", plan.environment, "fluxfarm.cli", *words)


def parts(plan: Plan, assignments: Sequence[Assignment] | None = None) -> list[Part]:
    """The API, the maintenance process, and a worker for each model unless others are assigned."""
    if assignments is None:
        assignments = assign(together(plan.catalog), [plan.settings.device])
    return [
        _http("api", plan, "api.wsgi:app", plan.address.bind),
        *([_http("admin", plan, "api.admin_wsgi:app", plan.settings.admin_bind)] if plan.settings.admin_bind else []),
        _python("maintenance", plan.environment, "worker.maintenance"),
        *workers(plan.settings, plan.environment, assignments),
    ]


def _http(name: str, plan: Plan, app: str, bind: str) -> Part:
    words = ("-c", "python:api.gunicorn_conf", app, "--bind", bind)
    return replace(_python(name, plan.environment, "gunicorn", *words), wave=DOOR)


def workers(settings: Settings, environment: Mapping[str, str], assignments: Sequence[Assignment]) -> list[Part]:
    """A worker per assignment; of several with one model, a broken device does not end the others."""
    served = Counter(each.models for each in assignments)
    return [replace(_worker(settings, environment, each), vital=served[each.models] == 1) for each in assignments]


def _worker(settings: Settings, environment: Mapping[str, str], assignment: Assignment) -> Part:
    # A device's number then means what nvidia-smi shows.
    told = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **environment, "FLUXFARM_DEVICE": assignment.device}
    named = [word for model in assignment.models for word in ("--model", model)]
    started = _python(assignment.name, told, "worker", *named)
    return replace(started, grace=settings.stop_seconds + HAND_BACK_SECONDS)


def _python(name: str, environment: Mapping[str, str], module: str, *words: str) -> Part:
    command = (sys.executable, "-m", module, *words)
    return Part(name, lambda: command, environment, stop_signal=signal.SIGTERM, wave=WORK)
