"""`X-Forwarded-*` is believed from trusted proxies only; from others it is taken away before anything reads it."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from fluxfarm.settings import Network

FORWARDED = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_FORWARDED",
)
HOST = re.compile(r"[A-Za-z0-9._-]{1,255}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?", re.ASCII)

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """WSGI middleware: proxies in trusted networks may say who their client is and by which name it called."""

    def __init__(self, app: Application, trusted: tuple[Network, ...]) -> None:
        self._app = app
        self._trusted = trusted

    def answered(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """What the application answers; a method: calling an object takes more of the stack that a held call keeps."""
        self._judge(environ)
        return self._app(environ, start_response)

    def _judge(self, environ: Environ) -> None:
        told = {name: environ.pop(name, "") for name in FORWARDED}
        peer = address(environ.get("REMOTE_ADDR", ""))
        if self._is_trusted(peer):
            peer = self._client(peer, _listed(told["HTTP_X_FORWARDED_FOR"]))
            _take_over(environ, told)
        if peer is not None:
            environ["REMOTE_ADDR"] = str(peer)

    def _client(self, peer: Address | None, hops: list[str]) -> Address | None:
        """The last hop that is no proxy of ours: what stands before it in the list is hearsay."""
        while hops and self._is_trusted(peer):
            named = address(hops.pop())
            if named is None:
                break
            peer = named
        return peer

    def _is_trusted(self, client: Address | None) -> bool:
        return client is not None and any(client in network for network in self._trusted)


@lru_cache(maxsize=10_000)
def address(text: str) -> Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:56`, `::1` or `[::1]:56`; an IPv4 one inside IPv6 as itself."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _take_over(environ: Environ, told: dict[str, str]) -> None:
    proto, host = _listed(told["HTTP_X_FORWARDED_PROTO"])[-1:], _listed(told["HTTP_X_FORWARDED_HOST"])[-1:]
    if proto and proto[0].lower() in ("http", "https"):
        environ["wsgi.url_scheme"] = proto[0].lower()
    if host and HOST.fullmatch(host[0]):
        environ["HTTP_HOST"] = host[0]


def _listed(header: str) -> list[str]:
    return [word.strip() for word in header.split(",") if word.strip()]
