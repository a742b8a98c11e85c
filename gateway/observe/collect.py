"""One metrics state for several processes: each answers on a Unix socket, their parent asks all of them.

A process writes its state to whoever connects and closes. The parent waits a bounded time for each, and keeps
the last word of processes that do not answer or are gone: what they counted stays counted, so that counters
never fall; their gauges are left out. What a process counted after the last scrape before its death is lost.

Used by `gateway.dataplane`: `serve_state` in the children, `Collector` in their parent.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from gateway.observe.state import MetricsState, from_json, merge, to_json

ANSWER_S = 0.5  # how long a scrape waits for a process; Prometheus itself gives up after 10 s
ANSWER_BYTES = 16 * 1024 * 1024
log = logging.getLogger("turnout.metrics")


@contextlib.asynccontextmanager
async def serve_state(path: Path, state: Callable[[], MetricsState]) -> AsyncIterator[None]:
    """Answer on a Unix socket at `path` (replaced if it is there) until the block ends."""
    process = secrets.token_hex(8)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(to_json(process, state()))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path)
    path.chmod(0o600)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


class Collector:
    """`paths` gives the sockets of the processes that should be there now."""

    def __init__(self, paths: Callable[[], Iterable[Path]], *, answer_s: float = ANSWER_S) -> None:
        self.paths = paths
        self.answer_s = answer_s
        self.last: dict[Path, tuple[str, MetricsState]] = {}
        self.ended = MetricsState()  # all that processes of the past have counted
        self.turn = asyncio.Lock()  # two scrapes at once would read and write `last` across each other

    async def collect(self) -> MetricsState:
        """Ask every process and merge."""
        async with self.turn:
            asked = list(self.paths())
            answers = await asyncio.gather(*(self._ask(path) for path in asked))
            return self._merged(dict(zip(asked, answers, strict=True)))

    def _merged(self, answers: dict[Path, tuple[str, MetricsState] | None]) -> MetricsState:
        for path, (process, state) in list(self.last.items()):
            answer = answers.get(path)
            if path not in answers or (answer is not None and answer[0] != process):
                self.ended = merge([self.ended, state.without_gauges()])
                del self.last[path]
        fresh = {path: answer for path, answer in answers.items() if answer is not None}
        silent = [state.without_gauges() for path, (_, state) in self.last.items() if path not in fresh]
        self.last |= fresh
        merged = merge([self.ended, *silent, *(state for _, state in fresh.values())])
        merged.gauge("turnout_gateway_processes", len(fresh))
        return merged

    async def _ask(self, path: Path) -> tuple[str, MetricsState] | None:
        try:
            async with asyncio.timeout(self.answer_s):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    return from_json(await _read_all(reader))
                finally:
                    writer.close()
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            log.warning("no metrics from %s: %s", path.name, str(error) or type(error).__name__)
            return None


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await reader.read(65_536):
        size += len(part)
        if size > ANSWER_BYTES:
            raise ValueError(f"the answer is longer than {ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
