"""Where the gateway's own microseconds go: the path of a request without sockets, whole and in parts.

Real objects of the gateway between transports that only remember what was written. What is left is the Python
code of a request: no kernel, no event loop, caches warm. So it is a lower bound of the user time that `bench
proxy` shows, and steady enough to see a tenth of a microsecond. Run: `python -m loadtests.hotpath`.
"""

import gc
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import uvloop

from gateway.contract.reply import match_plain, plain_head
from gateway.core.compile import compile_changes
from gateway.core.decide import decide
from gateway.dataplane.process import GatewayProcess
from gateway.dataplane.settings import GatewaySettings
from gateway.traces.settings import TraceSettings
from gateway.upstream.connection import Connection
from gateway.wire.limits import Limits
from gateway.wire.plain import Head, Shape, read_plain
from loadtests.backend import BODY as REPLY
from loadtests.backend import DIGEST
from loadtests.drive import BODY
from loadtests.installation import documents, lease

MODEL = "bench"
UNITS = 10_000
NO_TRACES = TraceSettings()
ROUNDS = 15
EACH = 5_000  # requests in a round
_TOKEN = re.compile(rb"turnout-attempt: ([0-9a-f]+)\r\n").search


class Transport:
    """Remembers the last thing written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written = data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def abort(self) -> None: ...


def answer(sent: bytes) -> bytes:
    """What a worker of Turnout would answer; not part of what is measured."""
    token = _TOKEN(sent)
    attempt = b"%b;%b" % (token[1] if token else b"", DIGEST[:12].encode())
    head = plain_head(attempt=attempt, version=b"1", worker_us=100, output=b"7")
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(REPLY), REPLY)


class Gateway:
    """A gateway process, one connection of a client, and one to a worker of each version."""

    def __init__(
        self, directory: Path, *, shadow: str | None = None, traces: TraceSettings = NO_TRACES
    ) -> None:
        settings = GatewaySettings(redis_url="redis://127.0.0.1:1", data_dir=directory, traces=traces)
        self.process = GatewayProcess(settings)
        wanted = documents(MODEL, shadow=shadow)
        raw = {field: orjson.dumps({"revision": 1, "doc": doc}) for field, doc in wanted.items()}
        table = self.process.table
        table.switch(compile_changes(table.snapshot, revision=1, changed=raw))
        self.process.pools.update([lease(MODEL, version, 1) for version in "123"])
        self.workers = [self._connect(version) for version in "123"]
        server = self.process.server
        self.client = server.protocol(server.config, server.state, {})
        self.client.connection_made(Transport())  # type: ignore[arg-type]

    def _connect(self, version: str) -> tuple[Connection, Transport]:
        [worker] = self.process.pools.get(MODEL, version).workers.values()
        connection, transport = Connection(worker), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        worker.in_flight += 1
        worker.idle_again(connection)
        return connection, transport

    def ask(self, request: bytes) -> int:
        """A request and its answers; how many workers were asked."""
        self.client.data_received(request)
        asked = 0
        while sent := [pair for pair in self.workers if pair[1].written]:
            for connection, transport in sent:
                data, transport.written = transport.written, b""
                connection.data_received(answer(data))
                asked += 1
        return asked

    def forget(self) -> None:
        self.process.recorder.of(MODEL).waiting.clear()


def request(number: int, more: str = "") -> bytes:
    """`more`: header lines with their ends."""
    head = (
        f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
        f"turnout-unit: unit-{number * 7919 % UNITS:06d}\r\ncontent-type: application/json\r\n{more}"
    )
    return f"{head}Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


REQUESTS = [request(number) for number in range(EACH)]


def cpu_us(
    work: Callable[[bytes], object],
    after: Callable[[], object] = int,
    requests: Sequence[bytes] = tuple(REQUESTS),
) -> float:
    """CPU time of one call, the least of several rounds."""
    least = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for data in requests:
            work(data)
        least = min(least, (time.process_time() - began) / EACH * 1e6)
        after()
    return least


def parts_us(gateway: Gateway) -> dict[str, float]:
    """Steps that can be taken out of the path."""
    limits = Limits()
    read = read_plain(REQUESTS[0], limits)
    assert read is not None
    shape, fields = Shape(read[1]), read[0][1]
    head = Head(shape, read[0][0], fields, limits)
    entry = gateway.process.table.entry(MODEL)
    assert entry is not None
    compiled, recorder, pool = entry.compiled, entry.recorder, entry.targets["1"].pool
    came = answer(b"turnout-attempt: 10a\r\n")
    return {
        "read the head, as before but for its unit": cpu_us(lambda data: head.read(data, limits)),
        "read the head, names as before": cpu_us(lambda data: shape.read(data, limits)),
        "read the head, names that are new": cpu_us(lambda data: read_plain(data, limits)),
        "decide": cpu_us(lambda data: decide(compiled, fields, 0.5)),
        "pick a worker": cpu_us(lambda data: pool.pick()),
        "recognise the answer": cpu_us(lambda data: match_plain(came)),
        "make an id": cpu_us(lambda data: recorder.new_place(time.time())),
    }


async def measure(directory: Path) -> None:
    found: dict[str, float] = {}
    aside = cpu_us(lambda data: answer(b"turnout-attempt: 10a\r\n"))
    for name, shadow in (("a request, from its bytes to its record", None), ("the same with a shadow", "3")):
        gateway = Gateway(directory, shadow=shadow)
        asked = {gateway.ask(data) for data in REQUESTS}
        assert len(asked) == 1, "a copy was dropped"
        gc.freeze()
        found[name] = cpu_us(gateway.ask, gateway.forget) - asked.pop() * aside
    found |= {f"  {name}": each for name, each in parts_us(Gateway(directory)).items()}
    print(f"{'step':<42} CPU µs")
    for name, each in found.items():
        print(f"{name:<42} {each:6.2f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(measure(Path(directory)))
