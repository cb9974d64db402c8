"""What the views work with: made once per process, after the fork, and kept on the application."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from api.auth import Authenticator
from api.creates import Creates
from api.lines import Lines
from api.objects import Objects
from api.repeats import UnderWay
from api.seen import Seen
from api.waiting import Waiting
from fluxfarm.admission import Rules
from fluxfarm.announce import Announcer, Doorbell
from fluxfarm.catalog import Catalog, load_catalog
from fluxfarm.database import Database
from fluxfarm.links import LinkSigner, load_secrets
from fluxfarm.previews import Previews
from fluxfarm.prompt_filter import PromptFilter
from fluxfarm.queue import TokenQueue, redis_client
from fluxfarm.ratelimit import RateLimiter
from fluxfarm.settings import Settings
from fluxfarm.storage import open_store
from fluxfarm.told import Events

NAME = "fluxfarm"


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    catalog: Catalog
    database: Database
    tokens: TokenQueue
    objects: Objects
    creates: Creates
    under_way: UnderWay
    limiter: RateLimiter
    lines: Lines
    seen: Seen
    waiting: Waiting
    events: Events
    previews: Previews
    authenticator: Authenticator
    signer: LinkSigner
    prompts: PromptFilter


def build_services(settings: Settings) -> Services:
    """Connect to nothing yet; each part is reached when it is first needed."""
    announcer = Announcer(redis_client(settings))
    url = settings.require_database_url()
    database = Database(url, pool_size=10, application="fluxfarm api", tell=announcer.tell)
    limiter = RateLimiter(redis_client(settings), processes=settings.api_workers)
    tokens = TokenQueue(settings)
    lines = Lines(database, lease_seconds=settings.lease_seconds)
    rules = Rules(max_queued=settings.max_queued, fair_between=settings.fair_between)
    return Services(
        settings=settings,
        catalog=load_catalog(settings),
        database=database,
        tokens=tokens,
        objects=Objects(open_store(settings)),
        creates=Creates(database, tokens, rules),
        under_way=UnderWay(),
        limiter=limiter,
        lines=lines,
        seen=Seen(database, lines),
        waiting=Waiting(database, lines, Doorbell(redis_client(settings)), most_of_one=settings.max_waits),
        events=Events(redis_client(settings)),
        previews=Previews(redis_client(settings)),
        authenticator=Authenticator(database, limiter),
        signer=LinkSigner(load_secrets(settings)),
        prompts=PromptFilter.load(settings.blocked_prompts),
    )


def services() -> Services:
    """The services of the application that answers this request."""
    return cast("Services", current_app.extensions[NAME])
