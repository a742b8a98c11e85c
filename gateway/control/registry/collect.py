"""Removing the model files that no version uses.

A version that is removed leaves its file, since others may have the same, and an upload that is never
registered leaves one too. A file goes when it is older than the caller says and neither a version nor a live
worker has its digest. It is first set aside, then everything is looked at again, and only what is still
unused is deleted: a version that was registered in between gets its file back, here or by the registration
itself, which looks for its file once it is committed (`Artifacts.keep`). What a collection that died has set
aside is settled by the next. The removal is a commit, and so in the audit. Called by the handler of
`control.api.artifacts`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.errors import CallerError, TurnoutError, UpstreamError
from gateway.contract.version import Version
from gateway.control.parts import Parts
from gateway.store.documents import Change, new_operation_id
from workers.stores import Kept, Store

AT_ONCE = 1000  # files of one commit: their digests take 70 KiB of its 256
PARTIAL_S = 600.0  # an upload that is alive writes every half minute, and is inspected within minutes


@dataclass(frozen=True, slots=True)
class Collected:
    """`partial`: rests of uploads that never ended. `revision` None: nothing was committed."""

    files: tuple[Kept, ...]
    partial: int
    revision: int | None


async def collect(parts: Parts, *, older_than_s: float, dry_run: bool, author: str, reason: str) -> Collected:
    """Removes at most `AT_ONCE` files, or on a dry run only says which."""
    store, before_s = parts.artifacts.store, time.time() - older_than_s
    kept = await asyncio.to_thread(store.kept)
    used = await _used(parts, there_are_files=bool(kept))
    old = sorted(
        (file for file in kept if file.digest not in used and file.modified_s < before_s),
        key=lambda file: file.modified_s,
    )[:AT_ONCE]
    if dry_run:
        return Collected(tuple(old), 0, None)
    partial = await asyncio.to_thread(store.delete_partial, min(before_s, time.time() - PARTIAL_S))
    leaving = await _unused_aside(parts, store, [file.digest for file in old])
    revision = await _commit(parts, store, leaving, author=author, reason=reason) if leaving else None
    await asyncio.to_thread(_each, store.delete, leaving)
    gone = set(leaving)
    return Collected(tuple(file for file in old if file.digest in gone), partial, revision)


async def _unused_aside(parts: Parts, store: Store, digests: Sequence[str]) -> list[str]:
    """Sets these files aside, and gives all that are aside and still unused; the others are back."""
    await asyncio.to_thread(_each, store.set_aside, digests)
    aside = await asyncio.to_thread(store.aside)
    try:
        used = await _used(parts, there_are_files=bool(aside))
    except TurnoutError:
        await asyncio.to_thread(_each, store.bring_back, aside)
        raise
    await asyncio.to_thread(_each, store.bring_back, [digest for digest in aside if digest in used])
    return sorted(digest for digest in aside if digest not in used)


async def _commit(parts: Parts, store: Store, digests: list[str], *, author: str, reason: str) -> int:
    """Before they are deleted: the audit rather names a file that stayed than misses one that went."""
    try:
        committed = await parts.documents.commit(
            [Change(keys.COLLECTED_FIELD, {"digests": digests}, expected_revision=None)],
            author=author,
            reason=reason or f"remove {len(digests)} unused model files",
            op_id=new_operation_id(),
        )
    except UpstreamError:
        await asyncio.to_thread(_each, store.bring_back, digests)
        raise
    return committed.revision


async def _used(parts: Parts, *, there_are_files: bool) -> set[str]:
    """Digests of versions and of live workers. Refuses where not every version can be read."""
    found = await parts.documents.all("version/")
    versions = []
    for field, envelope in found.items():
        try:
            versions.append(Version.model_validate(envelope.doc))
        except ValidationError:
            raise CallerError(
                "refused", f"{field} in Redis cannot be read, so it may use any file: mend or remove it first"
            ) from None
    if there_are_files and not versions:
        raise CallerError(
            "refused",
            "no version is registered, so every file would go: if Redis lost its data, these files are what "
            "is left of it; if not, delete the folder by hand",
        )
    fleet = await parts.fleet.workers()
    return {version.digest for version in versions} | {lease.digest for lease in fleet.leases}


def _each(act: Callable[[str], None], digests: Sequence[str]) -> None:
    for digest in digests:
        act(digest)
