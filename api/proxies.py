"""`X-Forwarded-*` is believed from trusted proxies only; from others it is taken away before anything reads it."""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from fluxfarm.settings import Network

FORWARDED = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_FORWARDED",
)
Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class TrustedProxies:
    """WSGI middleware: one proxy in a trusted network may say who its client is and by which name it called."""

    def __init__(self, app: Application, trusted: tuple[Network, ...]) -> None:
        self._direct = app
        self._proxied = ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_port=0, x_prefix=0)
        self._trusted = trusted

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if self._is_trusted(environ.get("REMOTE_ADDR", "")):
            return self._proxied(environ, start_response)
        for name in FORWARDED:
            environ.pop(name, None)
        return self._direct(environ, start_response)

    def _is_trusted(self, address: str) -> bool:
        try:
            client = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(client in network for network in self._trusted)
