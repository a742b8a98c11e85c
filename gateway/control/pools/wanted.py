"""How many workers of a version supervisors shall keep, always or by need: what operators ask for.

A wish of a version that is kept by need also asks for its workers now, for as long as such a version stays
warm: time to name it in a route. Called by the handlers of models, and where a rollout begins.
"""

from collections.abc import Sequence

from pydantic import ValidationError

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError, ConflictError
from gateway.contract.pool import Keep, Wanted
from gateway.store.documents import Change, Documents, new_operation_id

ATTEMPTS = 5  # of a wish that loses against others
ASKED_AT_LEAST_S = 5.0  # where nothing stays warm: a small model has started by then, commands ask again


def readable_wanted(envelope: Envelope | None) -> Wanted | None:
    if envelope is None:
        return None
    try:
        return Wanted.model_validate(envelope.doc)
    except ValidationError:
        return None


def asked_until_ms(now_ms: int, *, keep_warm_s: float) -> int:
    """Until when workers stay that are asked for now."""
    return now_ms + round(max(keep_warm_s, ASKED_AT_LEAST_S) * 1000)


def wish_change(model: str, version: str, wish: Wanted, *, expected_revision: int | None = None) -> Change:
    return Change(keys.wanted_field(model, version), wish.model_dump(mode="json"), expected_revision)


async def scale(
    documents: Documents,
    model: str,
    version: str,
    *,
    workers: int | None = None,
    keep: Keep | None = None,
    until_ms: int,
    author: str,
    reason: str,
    forced: Sequence[str] = (),
) -> tuple[Wanted, int]:
    """Changes what is given and leaves the rest, and asks until then; the wish and its revision."""
    attempts = 0
    while True:
        envelope = await documents.get(keys.wanted_field(model, version))
        before = readable_wanted(envelope) or Wanted(workers=1, keep=Keep.NEEDED)
        after = Wanted(
            workers=before.workers if workers is None else workers,
            keep=keep or before.keep,
            asked_until_ms=until_ms if (keep or before.keep) is Keep.NEEDED else 0,
        )
        change = wish_change(
            model, version, after, expected_revision=envelope.revision if envelope is not None else 0
        )
        try:
            committed = await documents.commit(
                [change],
                author=author,
                reason=reason,
                op_id=new_operation_id(),
                forced=forced,
                requires={keys.version_field(model, version): None},
            )
        except ConflictError:
            attempts += 1
            if attempts == ATTEMPTS:
                raise
            continue
        return after, committed.revision


async def start(
    documents: Documents, model: str, version: str, *, until_ms: int, author: str, workers: int | None = None
) -> tuple[Wanted, int]:
    """Asks for its workers. `refused` where somebody wants none of them."""
    wish = readable_wanted(await documents.get(keys.wanted_field(model, version)))
    if wish is not None and wish.workers == 0 and not workers:
        raise CallerError(
            "refused",
            f"{model} {version} is to have no workers: `turnout pools scale {model} {version} 1` "
            "changes that",
        )
    reason = f"start workers of version {version} of {model}"
    return await scale(
        documents, model, version, workers=workers, until_ms=until_ms, author=author, reason=reason
    )
