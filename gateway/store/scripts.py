"""The Lua scripts in `lua/`: each is one atomic act and opens with its keys, arguments and reply.

They are sent by their digest; a server that does not know one yet gets the text, which is safe to send
again because the refusal happened before anything ran. Called by the store's other modules only.
"""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from gateway.contract.errors import UpstreamError
from gateway.store.connection import answers, ask

Argument = str | bytes | int


class Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def load(cls, *names: str) -> Self:
        """The files of `lua/` with these names, one after the other."""
        folder = resources.files("gateway.store").joinpath("lua")
        return cls("\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names))

    async def run(self, redis: Redis, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        """The script's reply. Raises `UpstreamError("store_away")`."""
        try:
            return await ask(redis, "EVALSHA", self.digest, len(keys), *keys, *arguments)
        except UpstreamError as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        return await ask(redis, "EVAL", self.text, len(keys), *keys, *arguments)

    async def run_durably(
        self, redis: Redis, keys: Sequence[str], arguments: Sequence[Argument], *, wait_ms: int
    ) -> tuple[Any, bool | None]:
        """The reply, and whether the disk has it: None where the server cannot tell (Redis before 7.2).

        `WAITAOF` follows the script on the same connection, because it speaks of that connection's writes.
        """
        replies: list[Any] = []
        with answers():
            for how, what in (("EVALSHA", self.digest), ("EVAL", self.text)):
                pipeline = redis.pipeline(transaction=False)
                pipeline.execute_command(how, what, len(keys), *keys, *arguments)
                pipeline.execute_command("WAITAOF", 1, 0, wait_ms)
                replies = await pipeline.execute(raise_on_error=False)
                if not isinstance(replies[0], NoScriptError):
                    break
            if isinstance(replies[0], Exception):
                raise replies[0]
        is_on_disk = None if isinstance(replies[1], Exception) else replies[1][0] >= 1
        return replies[0], is_on_disk
