"""The parent of the gateway processes: one listening socket, N children, one metrics address.

Children inherit the socket, so that a connection waiting to be accepted belongs to all of them and is not
lost when one ends. A child that crashes is replaced. SIGHUP reads the settings again and replaces all of
them one by one, the new one first. The parent serves no traffic and never talks to Redis.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.contract.errors import TurnoutError
from gateway.contract.lifeline import child_environment
from gateway.dataplane.settings import GatewaySettings, dump, state_path, with_live
from gateway.observe.collect import Collector
from gateway.observe.http import serve_metrics
from gateway.wire.tasks import end_tasks

READY_S = 30.0
FIRST_PAUSE_S = 0.2
LAST_PAUSE_S = 10.0
LAST_CALL_S = 0.2
CALM_S = 30.0  # a child that lived this long has not crashed at start
# For glibc: keep the memory of freed bodies for the next ones, instead of giving it back and faulting in
# fresh pages each time, which was up to a third of what a 1 MiB body costs. What an operator sets wins.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024)}
log = logging.getLogger("turnout.gateway")


class Child:
    """One gateway process and whether it has said that it serves."""

    def __init__(
        self,
        index: int,
        process: asyncio.subprocess.Process,
        ready: asyncio.Future[None],
        *,
        generation: int,
    ) -> None:
        self.index = index
        self.generation = generation  # a roll replaces those of earlier ones
        self.is_leaving = False  # it was told to end, and finishes what is in flight
        self.process = process
        self.ready = ready
        self.started = time.monotonic()


class Parent:
    """`command` starts a child; it gets `--fd`, `--index`, `--ready-fd`. `load` reads the settings again."""

    def __init__(
        self,
        command: list[str],
        sock: socket.socket,
        settings: GatewaySettings,
        load: Callable[[], GatewaySettings],
    ) -> None:
        self.command = command
        self.sock = sock
        self.settings = settings
        self.load = load
        self.generation = 0
        self.children: dict[int, Child] = {}
        self.next_index = 0
        self.is_ending = False
        self.watching: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """All children up; raises RuntimeError when one does not come up."""
        for _ in range(self.settings.processes):
            await self._start_child()

    async def _start_child(self) -> Child:
        index, self.next_index = self.next_index, self.next_index + 1
        read_fd, write_fd = os.pipe()
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *("--fd", str(self.sock.fileno()), "--index", str(index), "--ready-fd", str(write_fd)),
            pass_fds=(self.sock.fileno(), write_fd),
            env=_MEMORY | child_environment(dump(self.settings)),
        )
        os.close(write_fd)
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        child = self.children[index] = Child(index, process, ready, generation=self.generation)

        def told() -> None:
            loop.remove_reader(read_fd)
            said = os.read(read_fd, 1)
            os.close(read_fd)
            if said and not ready.done():
                ready.set_result(None)
            elif not ready.done():
                ready.set_exception(
                    RuntimeError("a gateway process ended before it served; see its messages")
                )

        loop.add_reader(read_fd, told)
        try:
            async with asyncio.timeout(READY_S):
                await asyncio.shield(ready)
        except (TimeoutError, RuntimeError):
            self.children.pop(index)
            if process.returncode is None:
                process.terminate()
            await process.wait()
            raise
        self._own(self._watch(child), f"watch-{index}")
        return child

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.watching.add(task)
        task.add_done_callback(self.watching.discard)

    async def _watch(self, child: Child) -> None:
        """Replace the child when it ends without having been asked to."""
        code = await child.process.wait()
        self.children.pop(child.index, None)
        if self.is_ending or child.is_leaving:
            return
        log.error("gateway process %d ended with %d; it is replaced", child.process.pid, code)
        pause_s = FIRST_PAUSE_S if time.monotonic() - child.started > CALM_S else FIRST_PAUSE_S * 2
        while not self.is_ending:
            await asyncio.sleep(pause_s)
            if len(self.children) >= self.settings.processes:  # a roll has filled its place
                return
            try:
                await self._start_child()
                return
            except (RuntimeError, TimeoutError):
                pause_s = min(LAST_PAUSE_S, pause_s * 2)
                log.error("a gateway process did not start; next try in %.1f s", pause_s)

    async def reload(self) -> None:
        """Read the settings again and replace every child; wrong ones are reported and change nothing."""
        try:
            wanted = self.load()
        except TurnoutError as error:
            for problem in error.data.get("problems", [error.message]):
                log.error("settings: %s", problem)
            log.error("the settings are wrong: the gateway processes go on with those they have")
            return
        before = self.settings
        self.settings, kept = with_live(before, wanted)
        for name in kept:
            log.warning("settings: gateway.%s needs a restart: it stays as it was", name)
        try:
            await self.roll()
        except (RuntimeError, TimeoutError) as error:
            self.settings = before
            log.error("a gateway process did not start with the new settings, the others go on: %s", error)

    async def roll(self) -> None:
        """Replace every child, one by one, the new one first, until there are as many as the settings say."""
        self.generation += 1
        while not self.is_ending:
            staying = [child for child in self.children.values() if not child.is_leaving]
            old = [child for child in staying if child.generation < self.generation]
            if len(staying) - len(old) < self.settings.processes:
                await self._start_child()
            elif not old:
                break
            if old:
                await self._end_child(old[0])
        log.info("every gateway process was replaced; there are %d", self.settings.processes)

    async def _end_child(self, child: Child) -> None:
        child.is_leaving = True
        if child.process.returncode is None:
            child.process.terminate()
        await child.process.wait()

    async def end(self) -> None:
        """End the children in good order.

        The kernel resets what waits to be accepted when the last process closes the socket. So shortly before
        the children do, the queue is closed for new connections, and the children accept what is in it.
        """
        self.is_ending = True
        ending = list(self.children.values())
        for child in ending:
            if not child.is_leaving:
                child.process.terminate()
        await asyncio.sleep(max(0.0, self.settings.drain_grace_s - LAST_CALL_S))
        self.sock.listen(0)
        self.sock.close()
        await asyncio.gather(*(child.process.wait() for child in ending))
        await end_tasks(self.watching)


async def run_parent(parent: Parent, metrics_sock: socket.socket) -> None:
    """Start the children and keep them until SIGTERM or SIGINT; serve their metrics meanwhile."""
    settings = parent.settings
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    asked = asyncio.Event()

    async def keep_reloading() -> None:
        while True:
            await asked.wait()
            asked.clear()
            await parent.reload()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    await parent.start()
    reloading = loop.create_task(keep_reloading(), name="reload")
    log.info("serving on %s:%d with %d processes", settings.host, settings.port, settings.processes)
    collector = Collector(lambda: [state_path(settings, index) for index in parent.children])
    metrics = await serve_metrics(metrics_sock, collector.collect)
    await ended.wait()
    await end_tasks([reloading])
    await parent.end()
    await metrics.drain(grace_s=0, deadline_s=1)


def child_command() -> list[str]:
    return [sys.executable, "-m", "gateway.cli.main", "gateway-process"]
