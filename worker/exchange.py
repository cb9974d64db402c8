"""One request to a judged destination and its answer, read with a bound on its size."""

import http.client
import socket
import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from fluxfarm.errors import PredictionFailed
from worker.destination import DEFAULT_PORTS, Address, Destination

CONNECT_SECONDS = 5.0
ADDRESSES = 4
"""How many addresses of one host are tried."""

CHUNK = 64 * 1024
GZIP_OR_ZLIB = 47
"""zlib's number for "find out from the header"."""


def connect(destination: Destination) -> socket.socket:
    """The first of the addresses that answers, under TLS where the URL asks for it."""
    *others, last = destination.addresses[:ADDRESSES]
    for address in others:
        with suppress(OSError):
            return _open(destination, address)
    return _open(destination, last)


@contextmanager
def asked(destination: Destination, connected: socket.socket) -> Iterator[http.client.HTTPResponse]:
    """Send a GET over the socket, which is closed at the end."""
    connection = http.client.HTTPConnection(destination.host, destination.port)
    connection.auto_open = 0  # it must never connect anywhere by itself
    connection.sock = connected
    headers = {
        "Host": _host_header(destination),
        "User-Agent": "fluxfarm",
        "Accept": "image/*, */*;q=0.5",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    try:
        connection.request("GET", destination.target, headers=headers)
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def body(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The decoded body; neither it nor what came over the wire may be larger than `limit`.

    Raises:
        PredictionFailed: with the reason `input_unreachable` or `input_too_large`.

    """
    if response.status != http.client.OK:
        raise unreachable(f"its server answered {response.status}")
    if (response.length or 0) > limit:
        raise _too_large(limit)
    found = b"".join(_bounded(_decoded(response, _bounded(_chunks(response), limit)), limit))
    if response.length:
        raise unreachable("its server broke off the answer")
    return found


def unreachable(why: str) -> PredictionFailed:
    return PredictionFailed("input_unreachable", why)


def _too_large(limit: int) -> PredictionFailed:
    return PredictionFailed("input_too_large", f"it is larger than {limit:,} bytes")


def _open(destination: Destination, address: Address) -> socket.socket:
    plain = socket.create_connection((str(address), destination.port), timeout=CONNECT_SECONDS)
    if not destination.secure:
        return plain
    try:
        return _tls().wrap_socket(plain, server_hostname=destination.host)
    except BaseException:
        plain.close()
        raise


@cache
def _tls() -> ssl.SSLContext:
    """Trusts what the system trusts, and what requests ships for systems that come without certificates."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _host_header(destination: Destination) -> str:
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    usual = DEFAULT_PORTS["https" if destination.secure else "http"]
    return host if destination.port == usual else f"{host}:{destination.port}"


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(CHUNK):
        yield chunk


def _bounded(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


def _decoded(response: http.client.HTTPResponse, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Undo an encoding that we did not ask for but some servers apply anyway."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return chunks
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return _inflated(chunks)
    raise unreachable("its server used a content encoding that was not asked for")


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(GZIP_OR_ZLIB)
    for chunk in chunks:
        rest = chunk
        while rest and not inflater.eof:
            yield inflater.decompress(rest, CHUNK)
            rest = inflater.unconsumed_tail
    if not inflater.eof:
        raise unreachable("its server broke off the answer")
