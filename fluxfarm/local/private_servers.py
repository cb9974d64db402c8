"""The private servers of a farm: each takes the place of an address that was not given."""

from dataclasses import dataclass, replace
from typing import Self

from fluxfarm.local.plan import Plan, server_part, with_servers
from fluxfarm.local.postgres import PrivatePostgres
from fluxfarm.local.sharing import Share
from fluxfarm.local.supervisor import Supervisor
from fluxfarm.local.valkey import PrivateValkey
from fluxfarm.settings import Settings


@dataclass(frozen=True, slots=True)
class PrivateServers:
    postgres: PrivatePostgres | None
    valkey: PrivateValkey | None

    @classmethod
    def wanted_by(cls, settings: Settings, share: Share | None) -> Self:
        return cls(
            postgres=PrivatePostgres(settings.data_dir, share) if settings.database_url is None else None,
            valkey=PrivateValkey(settings.data_dir / "valkey", share) if settings.redis_url is None else None,
        )

    def start(self, supervisor: Supervisor) -> None:
        """Start them, all at once, and wait until they answer."""
        servers = {"postgres": self.postgres, "valkey": self.valkey}
        wanted = {name: server for name, server in servers.items() if server}
        for name, server in wanted.items():
            supervisor.say(f"starting {server.title}")
            supervisor.start(server_part(name, server))
        supervisor.wait_until(lambda: all(server.ready() for server in wanted.values()), pause=0.05)

    def told_to(self, plan: Plan) -> Plan:
        """The plan with their addresses in it, once they answer."""
        given = plan.settings
        return with_servers(
            plan,
            database_url=given.database_url or (self.postgres.url if self.postgres else ""),
            redis_url=given.redis_url or (self.valkey.url if self.valkey else ""),
        )

    def as_others_reach_them(self, settings: Settings) -> Settings:
        """The settings of a running farm, with the addresses that other machines use."""
        return replace(
            settings,
            database_url=(self.postgres and self.postgres.shared_url) or settings.database_url,
            redis_url=(self.valkey and self.valkey.shared_url) or settings.redis_url,
        )
