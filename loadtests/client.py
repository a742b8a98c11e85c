"""A small keep-alive load client: N connections, each one request at a time, every outcome kept.

Closed loop by default: what is counted is whether requests fail, and how long they take, while something is
done to the system. With `per_second` the loop is open: requests begin when their time has come, whether or
not earlier ones are answered, as long as a connection is free; latency then counts from that time, so that a
system that stalls cannot hide it. Ends with the block that it runs in; loopback only.
"""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Seen:
    """What clients saw: (when it ended, seconds it took, status); status 0 = the connection broke."""

    replies: list[tuple[float, float, int]] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)

    def failures(self) -> Counter[int]:
        return Counter(status for _, _, status in self.replies if status != 200)

    def latencies_ms(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        return sorted(took * 1e3 for ended, took, _ in self.replies if since <= ended <= until)


def quantile(values: list[float], share: float) -> float:
    """Of sorted values; NaN-free: 0 where there are none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Load:
    """`async with Load(port, path, bodies) as seen:` — requests run inside the block."""

    def __init__(
        self,
        port: int,
        path: str,
        bodies: list[bytes],
        *,
        connections: int = 16,
        per_second: float | None = None,
    ) -> None:
        self.per_second = per_second
        self.began = 0.0
        self.port = port
        self.path = path
        self.bodies = bodies
        self.connections = connections
        self.numbers = itertools.count()
        self.seen = Seen()
        self.is_ending = False
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Seen:
        self.began = time.perf_counter()
        self.tasks = [asyncio.create_task(self._connection()) for _ in range(self.connections)]
        return self.seen

    async def __aexit__(self, *_: object) -> None:
        self.is_ending = True
        await asyncio.gather(*self.tasks)

    def _request(self, number: int) -> bytes:
        body = self.bodies[number % len(self.bodies)]
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\n"
            f"turnout-unit: user-{number % 1000}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def _connection(self) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.is_ending:
            number = next(self.numbers)
            request = self._request(number)
            started = await self._turn(number)
            try:
                if streams is None:
                    streams = await asyncio.open_connection("127.0.0.1", self.port)
                status, keep = await self._exchange(*streams, request)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                status, keep = 0, False
            ended = time.perf_counter()
            self.seen.replies.append((ended, ended - started, status))
            if not keep and streams is not None:
                streams[1].close()
                streams = None
        if streams is not None:
            streams[1].close()

    async def _turn(self, number: int) -> float:
        """Wait until request `number` is due; when that was."""
        now = time.perf_counter()
        if self.per_second is None:
            return now
        due = self.began + number / self.per_second
        if due > now:
            await asyncio.sleep(due - now)
        return due

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, bool]:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length, keep = 0, True
        for line in lines[1:]:
            if line.startswith(b"content-length: "):
                length = int(line[16:])
            elif line.startswith(b"turnout-version: "):
                self.seen.versions[line[17:].decode()] += 1
            elif line == b"connection: close":
                keep = False
        await reader.readexactly(length)
        return int(lines[0].split(b" ")[1]), keep
