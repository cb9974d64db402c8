"""A TCP proxy on every link, so that links can fail as networks do: cut, mute, late, narrow, or gone on one side only.

All of them live on one event loop in a thread of its own; what a link suffers is set from any thread. Each counts what
it did to whom, so that a fault can show that it met something.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

CHUNK = 65536
PATIENCE_SECONDS = 10.0
LAST_TURNS_SECONDS = 0.05
"""In these the loop closes the sockets of connections that were ended."""
T = TypeVar("T")


@dataclass(slots=True)
class Weather:
    """What becomes of the bytes on a link; as made, they flow."""

    refuses: bool = False
    """New connections are broken at once."""
    mute: bool = False
    """Nothing is carried and nothing broken."""
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """0: as many as there are."""
    answer: bytes = b""
    """If any, the proxy itself answers so to whatever is asked."""
    breaks_after: int = 0
    """A connection ends after so many bytes of a request that is longer."""


@dataclass(slots=True)
class Suffered:
    """What a link did since its weather last changed."""

    cut_in_flight: int = 0
    held_bytes: int = 0
    late_chunks: int = 0
    narrow_bytes: int = 0
    orphaned: int = 0
    answered: int = 0
    broken_off: int = 0
    unreachable: int = 0
    """Connections that could not be made, for nothing listens there."""


@dataclass(eq=False, slots=True)
class Connection:
    """A client's connection and the one that was made for it."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    asked_at: float = 0.0
    answered_at: float = 0.0
    asked_bytes: int = 0
    orphan: bool = False
    """Its far side is gone, and its near side has not been told."""

    @property
    def in_flight(self) -> bool:
        """Something was asked on it and has not been answered."""
        return self.asked_at > self.answered_at

    def abort(self) -> None:
        for each in (self.near, self.far):
            each.transport.abort()


@dataclass(eq=False)
class Link:
    """From one process, or one kind of process, to one server; `port` is where the proxy listens."""

    name: str
    target: int
    net: "Net"
    port: int = 0
    weather: Weather = field(default_factory=Weather)
    suffered: Suffered = field(default_factory=Suffered)
    _open: set[Connection] = field(default_factory=set)
    _clear: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_flight(self) -> int:
        """How many of its connections wait for an answer."""
        return sum(each.in_flight for each in tuple(self._open))

    def cut(self) -> None:
        """Break all connections; new ones too, until the weather clears."""
        self.change(Weather(refuses=True))
        self.net.call(self._break_all())

    def cut_once(self) -> None:
        """Break all connections there are."""
        self.suffered = Suffered()
        self.net.call(self._break_all())

    def lose_far_side(self) -> None:
        """As if its server's machine had lost power: clients are told nothing until the weather clears."""
        self.change(Weather())
        self.net.call(self._orphan_all())

    def change(self, weather: Weather) -> None:
        self.suffered = Suffered()
        self.weather = weather
        self.net.call(self._tell(clear=not weather.mute))

    def clear(self) -> None:
        """All is well again; what waited is carried, and who hung on nothing is told."""
        self.weather = Weather()
        self.net.call(self._tell(clear=True))
        self.net.call(self._end_orphans())

    async def listen(self) -> None:
        self._clear.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def hang_up(self) -> None:
        """Listen no more, and end all connections; to be called on the loop."""
        self._server.close()
        for each in tuple(self._open):
            each.abort()

    async def _tell(self, *, clear: bool) -> None:
        if clear:
            self._clear.set()
        else:
            self._clear.clear()

    async def _break_all(self) -> None:
        for each in tuple(self._open):
            self.suffered.cut_in_flight += each.in_flight
            each.abort()

    async def _orphan_all(self) -> None:
        for each in tuple(self._open):
            each.orphan = True
            self.suffered.orphaned += each.in_flight
            each.far.transport.abort()

    async def _end_orphans(self) -> None:
        for each in tuple(self._open):
            if each.orphan:
                each.abort()

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if self.weather.refuses:
            self.suffered.cut_in_flight += 1
            near.transport.abort()
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            self.suffered.unreachable += 1
            near.transport.abort()
            return
        connection = Connection(near, far)
        self._open.add(connection)
        try:
            await asyncio.gather(self._forth(connection, reader), self._back(connection, far_reader))
        except asyncio.CancelledError:
            return  # the net is being taken down
        finally:
            self._open.discard(connection)
            connection.abort()

    async def _forth(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(CHUNK):
                connection.asked_at = time.monotonic()
                connection.asked_bytes += len(data)
                if self._answers_itself(connection) or self._breaks_off(connection):
                    return
                await self._carry(data, connection.far)
        except OSError:
            return
        finally:
            _end(connection.far)

    async def _back(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(CHUNK):
                await self._carry(data, connection.near)
                connection.answered_at = time.monotonic()
        except OSError:
            return
        finally:
            if not connection.orphan:
                _end(connection.near)

    def _answers_itself(self, connection: Connection) -> bool:
        if not self.weather.answer:
            return False
        self.suffered.answered += 1
        connection.near.write(self.weather.answer)
        return True

    def _breaks_off(self, connection: Connection) -> bool:
        if not 0 < self.weather.breaks_after < connection.asked_bytes:
            return False
        self.suffered.broken_off += 1
        connection.abort()
        return True

    async def _carry(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        weather = self.weather
        if weather.delay_seconds:
            self.suffered.late_chunks += 1
            await asyncio.sleep(weather.delay_seconds)
        if weather.bytes_per_second:
            self.suffered.narrow_bytes += len(data)
            await asyncio.sleep(len(data) / weather.bytes_per_second)
        if not self._clear.is_set():
            self.suffered.held_bytes += len(data)
            await self._clear.wait()
        sink.write(data)
        await sink.drain()


def _end(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # it may have been reset meanwhile
        if not writer.transport.is_closing():
            writer.write_eof()


class Net:
    """All links; as a context manager it runs them for as long as the block does."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="net", daemon=True)
        self.links: dict[str, Link] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def link(self, name: str, target: int) -> Link:
        """A link to the server on port `target`, listening."""
        link = self.links[name] = Link(name, target, self)
        self.call(link.listen())
        return link

    def to(self, part: str) -> list[Link]:
        """All links to one kind of server."""
        return [link for name, link in self.links.items() if name.endswith(f">{part}")]

    def clear(self) -> None:
        for each in self.links.values():
            each.clear()

    def call(self, action: Coroutine[Any, Any, T]) -> T:
        """Have the loop do something, and wait until it has."""
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(PATIENCE_SECONDS)

    async def _stop(self) -> None:
        for link in self.links.values():
            link.hang_up()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(LAST_TURNS_SECONDS)
