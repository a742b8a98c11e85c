"""What routes the benchmark's requests: Turnout's gateway and other proxies, started with the same task.

A peer is data: its configuration files in `peers/`, its command, and what differs when there is a shadow.
Called by `bench`; which system can do what is in the README's table.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.backend import BODY as REPLY
from loadtests.environments import PROXIES, Environment
from loadtests.installation import gateway, installation
from loadtests.started import StartFailed, cores, free_port, started, wait_for_port
from loadtests.systems import MODEL, Backend, Scenario, System, check, configured


@dataclass(frozen=True, slots=True)
class Proxy:
    """`command` gets the first of `templates`, filled in; `gives_headers`: it can name version and id.

    `mirror` fills @MIRROR@: the first where every request is copied to a shadow (None: it cannot do that),
    the second elsewhere.
    """

    templates: tuple[str, ...]
    command: Callable[[str], list[str]]
    mirror: tuple[str | None, str] = (None, "")
    in_memory: str = ""  # added to it where bodies of 16 MiB are to stay in memory, as Turnout keeps them
    gives_headers: bool = True
    environment: Environment | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def _envoy(config: str) -> list[str]:
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [PROXIES.program("envoy"), "-c", config, *options]


PEERS: Mapping[str, Proxy] = {
    "nginx": Proxy(
        templates=("nginx.conf",),
        command=lambda config: ["nginx", "-c", config],
        mirror=("mirror /shadow;", ""),
        in_memory=(
            "client_max_body_size 32m; client_body_buffer_size 20m; proxy_buffer_size 64k; "
            "proxy_buffers 40 64k; proxy_busy_buffers_size 1m; proxy_max_temp_file_size 0;"
        ),
    ),
    "haproxy": Proxy(
        templates=("haproxy.cfg",),
        command=lambda config: ["haproxy", "-db", "-f", config],
    ),
    "envoy": Proxy(
        templates=("envoy.yaml",),
        command=_envoy,
        mirror=("request_mirror_policies: [{cluster: version3}]", ""),
        environment=PROXIES,
    ),
    "traefik": Proxy(
        templates=("traefik.yaml", "traefik-routes.yaml"),
        command=lambda config: [PROXIES.program("traefik"), f"--configFile={config}"],
        mirror=("mirrored", "versions"),
        gives_headers=False,  # it makes no ids, and adds headers for a router, not for a version
        environment=PROXIES,
        variables={"GOMAXPROCS": "1"},
    ),
}


@contextlib.contextmanager
def system(name: str, scenario: Scenario, behind: Backend, directory: Path) -> Iterator[System]:
    """Start `turnout` or one of the peers, and see that it answers as it should."""
    directory.mkdir(parents=True)
    start, gives_headers = (_turnout, True) if name == "turnout" else (_peer, PEERS[name].gives_headers)
    with start(name, scenario, behind, directory) as running:
        reply = bytes(scenario.reply_bytes) or REPLY
        check(running, directory, reply=reply, gives_headers=gives_headers)
        yield running


@contextlib.contextmanager
def _peer(name: str, scenario: Scenario, behind: Backend, directory: Path) -> Iterator[System]:
    proxy, port, log = PEERS[name], free_port(), directory / f"{name}.log"
    mirror = proxy.mirror[0 if scenario.has_shadow else 1]
    if mirror is None:
        raise StartFailed(f"{name} has no shadow copies of its own")
    if scenario.has_large_bodies:
        mirror += proxy.in_memory
    config, *_ = (
        configured(template, directory, behind.ports, PORT=str(port), MIRROR=mirror)
        for template in proxy.templates
    )
    command = proxy.command(str(config))
    with started(command, core=cores()[1], log=log, environment=proxy.variables) as pid:
        wait_for_port(port, pid=pid, log=log)
        yield System(name, port, {name: pid})


@contextlib.contextmanager
def _turnout(name: str, scenario: Scenario, behind: Backend, directory: Path) -> Iterator[System]:
    with (
        installation(
            directory / "redis",
            model=MODEL,
            ports=behind.ports,
            shadow="3" if scenario.has_shadow else None,
            is_foreign=scenario.is_foreign,
            core=cores()[0],
        ) as redis,
        gateway(directory, redis_url=redis.url, core=cores()[1]) as (port, pid),
    ):
        yield System(name, port, {"gateway": pid}, redis.pid)
