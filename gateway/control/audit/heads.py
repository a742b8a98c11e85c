"""Signed heads of the audit chain: made every minute, kept beside Redis, compared when somebody verifies.

A head says what all entries up to a revision hash to. It is signed with HMAC-SHA-256 by a key in the data
directory that Redis never sees, so whoever rewrites the stream there cannot make one that fits. HMAC and not
a signature with a public key: the one who verifies is the installation itself, it needs nothing but the
standard library, and for everybody else a head that was exported and kept is proof by its digest alone. Heads
lie in Redis (for other control processes with the same key) and in a file of this process (for when Redis'
are gone).

Used by the handlers of `control.api.audit`; `keep_signing` runs as a task of the control process.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

import orjson

from gateway.contract.errors import ConflictError, TurnoutError
from gateway.core.chain import Head, Walk
from gateway.store.audit import AuditStream

KEY_FILE = "audit.key"
HEADS_FILE = "audit-heads.jsonl"
KEY_BYTES = 32
log = logging.getLogger("turnout.audit")


class Heads:
    """`data_dir` is made, with the key in it, when the first head is signed."""

    def __init__(self, stream: AuditStream, data_dir: Path) -> None:
        self._stream = stream
        self._key_path = data_dir / KEY_FILE
        self._file = data_dir / HEADS_FILE
        self._turn = asyncio.Lock()  # two walks at once would write the same head twice
        self._last: Head | None = None
        self.problem = ""  # why no head can be signed

    def seal(self, *parts: str) -> str:
        """What stands in the audit for something that it must not say: the same for the same parts, and only
        whoever has the key can try what they were."""
        text = b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in parts)
        try:
            key = self._own_key()
        except OSError as error:
            raise TurnoutError(
                "internal", f"{self._key_path} cannot be written ({error.strerror}): nothing was done"
            ) from None
        return hmac.new(key, b"seal " + text, "sha256").hexdigest()[:32]

    async def known(self) -> tuple[dict[int, Head], int]:
        """Every head whose signature holds, by revision, of the file and of Redis; and how many lie in Redis
        whose does not."""
        key = self._read_key()
        kept = [head_from(line) for line in await asyncio.to_thread(self._read_file)]
        found = [head_from(line) for line in await self._stream.heads()]
        ours = [head for head in (*kept, *found) if head is not None and _is_ours(head, key)]
        strangers = sum(head is None or not _is_ours(head, key) for head in found)
        return {head.revision: head for head in ours}, strangers

    async def sign(self, *, now_ms: int) -> Head | None:
        """A head of everything up to now; the last one where nothing came since; None without any entry.

        Raises `ConflictError` where the entries since the last head do not fit together: a head would vouch
        for them.
        """
        async with self._turn:
            last = self._last or await self._newest()
            walk = Walk() if last is None else Walk.behind(last, {})
            async for page in self._stream.oldest_first(after="-" if last is None else last.entry_id):
                for entry_id, entry in page:
                    walk.step(entry_id, entry)
                await asyncio.sleep(0)
            if not walk.is_whole:
                self.problem = walk.problems[0]
                raise ConflictError(
                    "conflict",
                    f"no head is signed, since {walk.problems[0]}: see `turnout audit verify`",
                    problems=walk.problems,
                )
            self.problem = ""
            if walk.entries == 0:
                self._last = last
                return last
            head = Head(walk.revision, walk.entry_id.decode(), walk.link.decode(), walk.sum.decode(), now_ms)
            try:
                signed = _signed(head, await asyncio.to_thread(self._own_key))
                await asyncio.to_thread(self._append, signed)
            except OSError as error:
                raise TurnoutError(
                    "internal", f"{self._file} cannot be written ({error.strerror}): no head was signed"
                ) from None
            await self._stream.add_head(orjson.dumps(asdict(signed)))
            self._last = signed
            return signed

    async def keep_signing(self, every_s: float, *, now_ms: Callable[[], int]) -> None:
        """Until cancelled. What goes wrong is logged when it begins."""
        told = ""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.sign(now_ms=now_ms())
                problem = ""
            except TurnoutError as error:
                problem = error.message
            if problem and problem != told:
                log.error("audit: %s", problem)
            told = problem

    async def _newest(self) -> Head | None:
        known, _ = await self.known()
        return known[max(known)] if known else None

    def _read_file(self) -> list[bytes]:
        try:
            return self._file.read_bytes().splitlines()
        except OSError:
            return []

    def _append(self, head: Head) -> None:
        with self._open(self._file, os.O_APPEND) as file:
            file.write(orjson.dumps(asdict(head)) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read_key(self) -> bytes | None:
        try:
            key = self._key_path.read_bytes()
        except OSError:
            return None
        return key if len(key) == KEY_BYTES else None

    def _own_key(self) -> bytes:
        """The key, made when there is none. Raises TurnoutError where the file is something else."""
        if (key := self._read_key()) is not None:
            return key
        self._key_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            beside = self._key_path.with_suffix(f".{secrets.token_hex(8)}")
            with self._open(beside, os.O_TRUNC) as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(beside, self._key_path)  # which fails where another process was faster
            finally:
                beside.unlink()
        key = self._read_key()
        if key is None:
            raise TurnoutError("internal", f"{self._key_path} is not a key: remove it, and a new one is made")
        return key

    @staticmethod
    def _open(path: Path, flags: int) -> BinaryIO:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "wb")


def head_from(line: bytes) -> Head | None:
    """None where the line is no head, as after a crash in the middle of one."""
    try:
        value = orjson.loads(line)
        head = Head(**value)
    except (ValueError, TypeError):
        return None
    texts = (head.entry_id, head.link, head.sha256, head.signer, head.mac)
    numbers = (head.revision, head.at_ms)
    is_typed = all(isinstance(text, str) for text in texts) and all(type(n) is int for n in numbers)
    return head if is_typed else None


def _is_ours(head: Head, key: bytes | None) -> bool:
    return key is not None and hmac.compare_digest(_signed(head, key).mac.encode(), head.mac.encode())


def _signed(head: Head, key: bytes) -> Head:
    named = replace(head, signer=hashlib.sha256(key).hexdigest()[:12], mac="")
    return replace(named, mac=hmac.new(key, named.signed_text(), "sha256").hexdigest())
