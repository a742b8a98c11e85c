"""Servers that others run: TLS, Sentinels with a failover, one node of a cluster that has every slot.

On a laptop without `redis-server` these tests are left out; continuous integration fails without it.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.contract.errors import CallerError, TurnoutError, UpstreamError
from gateway.contract.pool import Presence
from gateway.store.connection import ask, connect
from gateway.store.documents import Change, Documents
from gateway.store.fleet import FleetStore
from gateway.store.lease import Leases
from gateway.store.predictions import Predictions
from gateway.store.watch import Watch
from tests.sockets import free_port
from tests.store.samples import batch, entry, new_id, record

Start = Callable[..., subprocess.Popen[bytes]]
LIMIT_S = 120.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `redis-server` with these options; it ends with the test."""
    program = shutil.which("redis-server")
    if program is None:
        missing = "no redis-server on PATH; on Debian: apt-get install redis-server"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    begun: list[subprocess.Popen[bytes]] = []

    def started(*options: object) -> subprocess.Popen[bytes]:
        folder = tmp_path / f"server-{len(begun)}"
        folder.mkdir()
        command = [program, *map(str, options), "--dir", str(folder)]
        with (folder / "log").open("wb") as log:
            begun.append(subprocess.Popen(command, stdout=log, stderr=log))
        return begun[-1]

    yield started
    for process in begun:
        process.kill()
        process.wait()


async def until(url: str, *command: str, says: bytes = b"") -> None:
    """Until the server at `url` answers `command` with something in which `says` is."""
    redis = connect(url, name="test", timeout_s=5)
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    if says in str(await ask(redis, *(command or ("PING",)))).encode():
                        return
                except UpstreamError:
                    pass
                await asyncio.sleep(0.02)
    finally:
        await redis.aclose()


async def said_by(url: str, *command: str) -> TurnoutError:
    redis = connect(url, name="test", timeout_s=5)
    try:
        with pytest.raises(UpstreamError) as raised:
            await ask(redis, *(command or ("PING",)))
        return raised.value
    finally:
        await redis.aclose()


async def commit(documents: Documents, value: int, *, op_id: str) -> int:
    change = Change("route/a", {"value": value}, None)
    return (await documents.commit([change], author="me", reason="", op_id=op_id)).revision


async def everything(url: str) -> None:
    """Each kind of call of the store once: commits, the fleet, the lease, predictions, labels, evidence."""
    async with connect(url, name="test", timeout_s=5) as redis:
        await every_call(redis)


async def every_call(redis: Redis) -> None:
    documents, fleet, predictions = Documents(redis), FleetStore(redis), Predictions(redis)
    assert await commit(documents, 1, op_id="op-1") == await commit(documents, 1, op_id="op-1") == 1
    assert set(await documents.all("route/")) == {"route/a"}
    assert (await documents.history("route/a"))[0].revision == 1
    await documents.follow(0)
    assert await documents.audit()
    presence = Presence(gateway_id="g", pid=1, address="127.0.0.1:1", revision=0, started_ms=0)
    await fleet.announce_gateway(presence)
    assert [found.gateway_id for found in await fleet.gateways()] == ["g"]
    await fleet.sweep()
    await Leases(redis).take("me", lasts_s=5)
    assert await Leases(redis).leader() == "me"
    one = new_id()
    await predictions.write("digits", "r", batch(entry(one, record("1", "c", 1))))
    assert await predictions.feedback("digits", [(one, "1", None)], ttl_s=600)
    assert (await predictions.find("digits", one)).label == 1


def certificates(folder: Path) -> None:
    """ca.crt, which issued server.crt to `localhost`, and other.crt, which issued nothing."""
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        run(*new, "-x509", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    run(*new, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    run(
        "openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
        "-CAcreateserial", "-extfile", "names", "-out", "server.crt",
    )  # fmt: skip


async def test_tls_is_spoken_with_whom_the_issuer_vouches_for_and_nobody_else(
    start: Start, tmp_path: Path
) -> None:
    certificates(tmp_path)
    port, issuer = free_port(), f"ssl_ca_certs={tmp_path / 'ca.crt'}"
    start(
        "--port", 0, "--tls-port", port, "--tls-auth-clients", "no",
        "--tls-ca-cert-file", tmp_path / "ca.crt", "--tls-cert-file", tmp_path / "server.crt",
        "--tls-key-file", tmp_path / "server.key",
    )  # fmt: skip
    await until(f"rediss://localhost:{port}?{issuer}")
    await everything(f"rediss://localhost:{port}?{issuer}")
    for url, words in (
        (f"rediss://localhost:{port}", "its certificate is not believed"),
        (
            f"rediss://localhost:{port}?ssl_ca_certs={tmp_path / 'other.crt'}",
            "its certificate is not believed",
        ),
        (f"rediss://127.0.0.1:{port}?{issuer}", "not valid for '127.0.0.1'"),
    ):
        assert words in (await said_by(url)).message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss://localhost?ssl_ca_certs=/nowhere/ca.crt", "/nowhere/ca.crt cannot be read"),
        ("rediss://localhost?ssl_ca_cert=ca.crt", "ssl_ca_cert"),
        ("redis://localhost?ssl_ca_certs=ca.crt", "ssl_ca_certs"),
        ("redis+sentinel://localhost:26379", "redis\\+sentinel://host:26379/NAME"),
        ("redis+sentinel://:26379/main", "no Sentinel's host:port"),
        ("redis+sentinel://one:port/main", "port"),
    ],
)
def test_an_address_with_a_mistake_is_refused_before_anybody_is_asked(url: str, words: str) -> None:
    with pytest.raises(CallerError, match=words):
        connect(url, name="test")


def cluster_node(start: Start, folder: Path, *, slots: str, of_others: str = "") -> str:
    """The address of a node of a cluster that has these slots, and knows of one more node with the others."""
    port = free_port()
    while port > 55_000:  # the bus of the cluster listens 10,000 above
        port = free_port()
    nodes = [f"{'a' * 40} 127.0.0.1:{port}@{port + 10_000} myself,master - 0 0 1 connected {slots}"]
    if of_others:
        nodes.append(f"{'b' * 40} 127.0.0.1:9@10009 master - 0 0 2 connected {of_others}")
    file = folder / "nodes.conf"
    file.write_text("\n".join([*nodes, "vars currentEpoch 2 lastVoteEpoch 0", ""]))
    start("--port", port, "--cluster-enabled", "yes", "--cluster-config-file", file, "--save", "")
    return f"redis://127.0.0.1:{port}"


async def test_one_node_that_has_all_slots_of_a_cluster_serves_everything(
    start: Start, tmp_path: Path
) -> None:
    """Each script's keys are in one slot."""
    url = cluster_node(start, tmp_path, slots="0-16383")
    await until(url, "CLUSTER", "INFO", says=b"cluster_state:ok")
    await everything(url)


async def test_one_node_of_several_of_a_cluster_is_refused_and_told(start: Start, tmp_path: Path) -> None:
    url = cluster_node(start, tmp_path, slots="0-99", of_others="100-16383")
    await until(url, "CLUSTER", "INFO", says=b"cluster_state:ok")
    assert "one node of several of a cluster" in (await said_by(url, "GET", "a")).message


async def test_a_cluster_that_is_down_is_told(start: Start, tmp_path: Path) -> None:
    url = cluster_node(start, tmp_path, slots="0-99")
    await until(url)
    assert "its cluster is down" in (await said_by(url, "GET", "a")).message


async def test_a_killed_primary_is_replaced_by_whom_the_sentinels_name(start: Start, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    primary = start("--port", ports[0], "--save", "")
    start("--port", ports[1], "--save", "", "--replicaof", "127.0.0.1", ports[0])
    await until(f"redis://127.0.0.1:{ports[1]}", "INFO", "replication", says=b"'master_link_status': 'up'")
    addresses = ",".join(f"127.0.0.1:{sentinel(start, tmp_path, ports[0])}" for _ in range(3))
    url = f"redis+sentinel://{addresses}/main"
    for address in addresses.split(","):
        await until(f"redis://{address}", "SENTINEL", "CKQUORUM", "main", says=b"")
        await until(f"redis://{address}", "SENTINEL", "REPLICAS", "main", says=str(ports[1]).encode())
    await everything(url)
    redis, heard = connect(url, name="test", timeout_s=5), list[bytes]()
    watch = Watch(url, heard.append)
    watching = asyncio.create_task(watch.run())
    documents = Documents(redis)
    assert await commit(documents, 2, op_id="op-2") == 2
    assert await ask(redis, "WAIT", 1, 5000) == 1
    primary.send_signal(signal.SIGKILL)
    said = set[str]()
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                assert await commit(documents, 3, op_id="op-3") == 3  # nothing was lost
                break
            except UpstreamError as error:
                said.add(error.code)
                await asyncio.sleep(0.05)
        revision = 3
        while not {b"commit %d" % number for number in range(4, revision + 1)} & {*heard}:
            # Whoever follows hears of changes again, once the Sentinels have ended all connections to it.
            if watch.is_listening and watch.subscriptions > 1:
                with suppress(UpstreamError):
                    revision = await commit(documents, revision + 1, op_id=f"op-{revision + 1}")
            await asyncio.sleep(0.05)
    assert said == {"store_away"}
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await redis.aclose()


def sentinel(start: Start, folder: Path, primary: int) -> int:
    """The port of a new Sentinel that watches this primary under the name `main`."""
    port = free_port()
    file = folder / f"sentinel-{port}.conf"
    file.write_text(
        f"port {port}\nsentinel monitor main 127.0.0.1 {primary} 2\n"
        "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 5000\n"
    )
    start(file, "--sentinel")
    return port
