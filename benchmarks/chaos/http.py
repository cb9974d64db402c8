"""As much of HTTP as a client needs that expects the worst: one kept-alive connection, made anew when it breaks."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def content(self) -> dict[str, Any]:
        found = json.loads(self.body)
        return found if isinstance(found, dict) else {}

    @property
    def length(self) -> int:
        return len(self.body)

    @property
    def retry_after(self) -> float:
        """Seconds; 0.1 where it does not say."""
        return float(self.headers.get("retry-after", "0.1"))

    def told(self) -> dict[str, Any]:
        """What a log should say of an answer that is not the wished one."""
        is_json = self.headers.get("content-type", "").startswith("application/json")
        code = self.content.get("code") if is_json else self.body[:100].decode(errors="replace")
        return {"status": self.status, "code": code, "retry_after": self.headers.get("retry-after")}


class Api:
    """Each question is asked once: whoever wants it asked again must know that it may have been heard."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Raises OSError, EOFError, TimeoutError or ValueError if there is no whole answer."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._exchange(self.request(method, path, body), began)
        except BaseException:
            self.close()
            raise

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = None

    async def _exchange(self, request: bytes, began: float) -> Answer:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        await self._writer.drain()
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        body = await self._body(headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(first.split()[1]), headers, body, time.monotonic() - began)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body
