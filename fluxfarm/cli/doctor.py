"""`fluxfarm doctor`: what is missing, and how to mend it."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from sqlalchemy.orm import Session

from fluxfarm import checkers, lookup, schema, starting
from fluxfarm.card import Card
from fluxfarm.catalog import Model, load_catalog
from fluxfarm.cli.context import farm_settings
from fluxfarm.database import Database
from fluxfarm.errors import FluxfarmError
from fluxfarm.local.devices import memory_gib
from fluxfarm.memory_plans import AUTO, LIBRARIES, device_gib, fitting, needs_gib, offloads, parts_gib
from fluxfarm.prompt_filter import PromptFilter
from fluxfarm.queue import redis_client
from fluxfarm.ratelimit import RateLimiter
from fluxfarm.settings import Settings
from fluxfarm.storage import open_store


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; without a remedy it is in order."""

    what: str
    found: str
    remedy: str | None = None


@click.command()
def doctor() -> None:
    """Look at everything the farm needs; exit status 1 if something is missing."""
    findings = list(examine(farm_settings()))
    for finding in findings:
        click.echo(f"{'ok     ' if finding.remedy is None else 'MISSING'}  {finding.what}: {finding.found}")
        if finding.remedy:
            click.echo(f"         {finding.remedy}")
    if any(finding.remedy for finding in findings):
        raise click.exceptions.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    yield from _guarded("catalogue", lambda: _catalogue(settings), "correct FLUXFARM_CATALOG or FLUXFARM_WEIGHTS")
    yield from _guarded("licences and checkers", lambda: _startable(settings), "say it by the settings it names")
    yield from _guarded("blocked prompts", lambda: _prompts(settings), "correct FLUXFARM_BLOCKED_PROMPTS")
    yield _packages(settings)
    yield from _guarded("devices", lambda: _devices(settings), "correct FLUXFARM_CATALOG or FLUXFARM_WEIGHTS")
    yield from _guarded("database", lambda: _database(settings), "start it, or set FLUXFARM_DATABASE_URL")
    yield from _guarded("redis", lambda: _redis(settings), "start it, or set FLUXFARM_REDIS_URL")
    yield from _guarded("storage", lambda: _storage(settings), "check the data directory or the FLUXFARM_S3_ settings")


def _guarded(what: str, look: Callable[[], list[Finding]], remedy: str) -> list[Finding]:
    try:
        return look()
    except FluxfarmError as error:
        return [Finding(what, error.message, remedy)]


def _catalogue(settings: Settings) -> list[Finding]:
    served = load_catalog(settings).models.values()
    return [Finding("catalogue", ", ".join(f"{each.slug} from {each.weights.location}" for each in served))]


def _startable(settings: Settings) -> list[Finding]:
    models = load_catalog(settings).models
    for model in models.values():
        starting.require(model, settings)
    checked = [slug for slug, model in models.items() if checkers.locations(model, settings)]
    return [Finding("licences and checkers", f"checked: {', '.join(checked) or 'none'}")]


def _prompts(settings: Settings) -> list[Finding]:
    found = PromptFilter.load(settings.blocked_prompts)
    return [Finding("blocked prompts", f"{len(found.rules)} rules of {found.name}")]


def _packages(settings: Settings) -> Finding:
    wanted = ["torch", "diffusers", "transformers", *filter(None, [LIBRARIES.get(settings.quantise)])]
    absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    if absent:
        extras = "worker,quantised" if settings.quantise in LIBRARIES else "worker"
        return Finding("worker packages", f"no {', '.join(absent)}", f"pip install -c constraints.txt '.[{extras}]'")
    return Finding("worker packages", f"{', '.join(wanted[:-1])} and {wanted[-1]} are installed")


def _devices(settings: Settings) -> list[Finding]:
    """What the largest device can serve, by what the cards reckon, of real weights; stand-ins fit anywhere."""
    served = load_catalog(settings).models.values()
    real = [model for model in served if not model.weights.stand_in]
    found = memory_gib()
    if not found:
        need = "; real weights need one" if real else ""
        return [Finding("devices", f"no NVIDIA device, renders on the processor{need}")]
    small = "" if real else "stand-ins fit, and real weights so: "
    fits = "; ".join(f"{', '.join(slugs)}: {plan}" for plan, slugs in _fits(real or served, settings, max(found)))
    return [Finding("devices", f"{max(found):.0f} GiB on the largest of {len(found)}; {small}{fits}")]


def _fits(models: Iterable[Model], settings: Settings, has: float) -> Iterable[tuple[str, list[str]]]:
    """The models by their plans."""
    found: dict[str, list[str]] = {}
    for model in models:
        plan = _plan(model.card, settings, has) if model.card else "has no card that says how large it is"
        found.setdefault(plan, []).append(model.slug)
    return found.items()


def _plan(card: Card, settings: Settings, has: float) -> str:
    """What the settings make of a device with so many GiB, and what else it could hold as a whole."""
    needs = needs_gib(parts_gib(card, settings.quantise, settings.text_encoders), settings.vae_tiling)
    wanted = [settings.offload] if settings.offload != AUTO else offloads(settings.quantise, compiled=settings.compile)
    found = fitting(needs, wanted, has)
    said = f"FLUXFARM_OFFLOAD={found}, {needs[found]:g} GiB" if found else f"does not fit, {needs[wanted[-1]]:g} GiB"
    if found == "none" or settings.quantise in LIBRARIES:
        return said
    whole = [kind for kind in LIBRARIES if device_gib(card)[kind] <= has]
    return f"{said}, or all of it on the device with FLUXFARM_QUANTISE={whole[0]}" if whole else said


def _database(settings: Settings) -> list[Finding]:
    with _session(settings) as session:
        current = schema.current(session)
        if current != schema.head():
            found = f"schema at {current or 'nothing'}, this release wants {schema.head()}"
            return [Finding("schema", found, "run `fluxfarm migrate`")]
        return [Finding("database", "reachable"), Finding("schema", current), _slots(session), _workers(session)]


def _slots(session: Session) -> Finding:
    drift = lookup.slot_drift(session)
    if drift:
        found = f"{len(drift)} keys count active predictions wrongly, the first is {drift[0]['id']}"
        return Finding("slots", found, "report this: it must not happen")
    return Finding("slots", "every key's count is right")


def _workers(session: Session) -> Finding:
    live = lookup.live_workers(session)
    if not live:
        return Finding("workers", "none is alive", "start one with `fluxfarm worker --model flux-dev`")
    return Finding("workers", ", ".join(f"{model}: {n}" for model, n in sorted(live.items())))


def _redis(settings: Settings) -> list[Finding]:
    limiter = RateLimiter(redis_client(settings), processes=1)
    if limiter.reachable():
        return [Finding("redis", "reachable")]
    return [Finding("redis", "does not answer", "start it, or set FLUXFARM_REDIS_URL")]


def _storage(settings: Settings) -> list[Finding]:
    open_store(settings).probe()
    where = settings.s3_bucket or settings.objects_directory
    return [Finding("storage", f"writes, reads and deletes in {where}")]


@contextmanager
def _session(settings: Settings) -> Iterator[Session]:
    database = Database(settings.require_database_url(), pool_size=1, application="fluxfarm doctor")
    try:
        with database.session_scope() as session:
            yield session
    finally:
        database.close()
