"""The same requests at one version, over a few kept-alive connections, for `turnout bench versions`.

A closed loop on asyncio streams: locust's client costs several times what many a model does. Sends to one
address and ends by itself.
"""

import asyncio
import itertools
import ssl
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult

from gateway.loadtest.answers import error_kind


@dataclass(slots=True)
class Measured:
    """`answers` holds the body of the first answer to each input, by the input's place."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    answers: dict[int, bytes] = field(default_factory=dict)


async def measure(
    target: SplitResult,
    path: str,
    bodies: Sequence[bytes],
    *,
    requests: int,
    connections: int,
    timeout_s: float,
    headers: Mapping[str, str],
) -> Measured:
    """Sends `requests` requests, the bodies in turn."""
    found, numbers = Measured(), itertools.count()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nhost: {target.netloc}\r\ncontent-type: application/json\r\n{lines}"
    began_s = time.perf_counter()

    async def connection() -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (number := next(numbers)) < requests:
            place = number % len(bodies)
            body = bodies[place]
            request = f"{head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body
            sent_s = time.perf_counter()
            try:
                async with asyncio.timeout(timeout_s):
                    if streams is None:
                        streams = await _connected(target)
                    status, code, answer, may_go_on = await _exchange(*streams, request)
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
                found.errors[error_kind(0, None, error) or ""] += 1
                _close(streams)
                streams = None
                continue
            if kind := error_kind(status, code, None):
                found.errors[kind] += 1
            else:
                found.latencies_ms.append((time.perf_counter() - sent_s) * 1e3)
                found.answers.setdefault(place, answer)
            if not may_go_on:
                _close(streams)
                streams = None
        _close(streams)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(connection())
    found.seconds = time.perf_counter() - began_s
    return found


async def _connected(target: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    is_safe = target.scheme == "https"
    return await asyncio.open_connection(
        target.hostname,
        target.port or (443 if is_safe else 80),
        ssl=ssl.create_default_context() if is_safe else None,
    )


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, str | None, bytes, bool]:
    """Status, the error's code, the body, and whether the connection may be used again."""
    writer.write(request)
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    said = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(said.get("content-length", "0")))
    return int(first.split(" ")[1]), said.get("turnout-error"), body, said.get("connection") != "close"


def _close(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if streams is not None:
        streams[1].close()
