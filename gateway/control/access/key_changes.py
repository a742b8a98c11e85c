"""Making and revoking keys: each is one commit with the `access` document, so that they follow one another.

Two admins who revoke each other's key at once would lock everybody out; the commit that comes second finds
`access` changed, and is decided again. Called by the handlers of `control.api.keys`, and by the recovery
command.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from gateway.contract import keys
from gateway.contract.access import ALL_MODELS, Access, Key, KeyName, Role, digest_of, new_token
from gateway.contract.errors import CallerError, ConflictError
from gateway.contract.names import ModelName
from gateway.contract.route import Document
from gateway.control.access.door import key_in
from gateway.store.documents import Change, Committed, Documents, new_operation_id

TRIES = 5
MOST_EXPIRY_S = 10 * 366 * 86_400.0
T = TypeVar("T")
Keys = Mapping[str, Key]  # by id


class KeyWish(Document):
    """`models`: names, or `*`; `pin`: may choose a version; `rate_per_s`: predictions, for each gateway."""

    name: KeyName
    role: Role
    models: tuple[ModelName | Literal["*"], ...] = Field(default=(ALL_MODELS,), min_length=1, max_length=64)
    pin: bool = False
    rate_per_s: float | None = Field(default=None, gt=0, le=1_000_000)
    expires_in_s: float | None = Field(default=None, gt=0, le=MOST_EXPIRY_S)
    reason: str = Field(default="", max_length=512)

    @model_validator(mode="after")
    def _admins_are_for_all(self) -> Self:
        if self.role is Role.ADMIN and ALL_MODELS not in self.models:
            raise ValueError("an admin makes keys for all models, so its own cannot be for some")
        return self


@dataclass(frozen=True, slots=True)
class Made:
    """`token` is shown once, and kept nowhere."""

    key_id: str
    key: Key
    token: str
    committed: Committed


async def create(documents: Documents, wish: KeyWish, *, author: str, now_ms: int) -> Made:
    token = new_token()
    expires_at_ms = None if wish.expires_in_s is None else int(now_ms + wish.expires_in_s * 1000)
    key = Key(
        digest=digest_of(token.text),
        expires_at_ms=expires_at_ms,
        **wish.model_dump(exclude={"expires_in_s", "reason"}),
    )
    reason = wish.reason or f"key {key.name} ({key.role})"

    async def decide() -> Committed:
        revision, present = await _read(documents)
        if any(other.name == key.name for other in present.values()):
            raise ConflictError(
                "conflict", f"there is a key named {key.name}: revoke it, or choose another name for this one"
            )
        changes = [
            Change(keys.key_field(token.key_id), key.model_dump(mode="json"), expected_revision=0),
            _access({**present, token.key_id: key}, revision),
        ]
        return await documents.commit(changes, author=author, reason=reason, op_id=new_operation_id())

    return Made(token.key_id, key, token.text.decode(), await _again(decide))


async def revoke(
    documents: Documents, key_id: str, *, author: str, reason: str, now_ms: int, may_be_last: bool
) -> tuple[Key | None, Committed]:
    """The key, if it could be read. `may_be_last`: nobody is locked out without admin keys."""

    async def decide() -> tuple[Key | None, Committed]:
        field = keys.key_field(key_id)
        envelope = await documents.get(field)
        if envelope is None:
            raise CallerError(
                "not_found", f"there is no key {key_id}: `turnout key list` shows those there are"
            )
        key = key_in(envelope)
        revision, present = await _read(documents)
        left = {other: kept for other, kept in present.items() if other != key_id}
        is_admin = key is not None and key.role is Role.ADMIN
        if is_admin and not may_be_last and not _lasting_admins(left, now_ms):
            raise CallerError(
                "refused",
                f"{key_id} is the last admin key, and without one nobody could make keys any more: create "
                "another one first",
            )
        named = key_id if key is None else f"{key.name} ({key_id})"
        committed = await documents.commit(
            [Change(field, None, expected_revision=None), _access(left, revision)],
            author=author,
            reason=reason or f"revoke key {named}",
            op_id=new_operation_id(),
        )
        return key, committed

    return await _again(decide)


async def all_keys(documents: Documents) -> Keys:
    """Those that can be read."""
    found = (await documents.all("key/")).items()
    readable = ((field.removeprefix("key/"), key_in(envelope)) for field, envelope in found)
    return {key_id: key for key_id, key in readable if key is not None}


def _lasting_admins(present: Keys, now_ms: int) -> int:
    return sum(key.role is Role.ADMIN and not key.has_expired(now_ms) for key in present.values())


def _access(present: Keys, revision: int) -> Change:
    admins = sum(key.role is Role.ADMIN for key in present.values())
    return Change(keys.ACCESS_FIELD, Access(admins=admins).model_dump(), expected_revision=revision)


async def _read(documents: Documents) -> tuple[int, Keys]:
    """The revision of `access` first: whatever changes after it makes the commit fail."""
    history = await documents.history(keys.ACCESS_FIELD, limit=1)
    return history[0].revision if history else 0, await all_keys(documents)


async def _again(decide: Callable[[], Awaitable[T]]) -> T:
    """Decide again while somebody else's change of a key comes in between."""
    for _ in range(TRIES - 1):
        try:
            return await decide()
        except ConflictError as error:
            if error.data.get("field") != keys.ACCESS_FIELD:
                raise
    return await decide()
