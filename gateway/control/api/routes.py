"""HTTP: route documents, one at a time or several in one commit."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from gateway.contract import keys
from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError
from gateway.contract.names import ModelName
from gateway.contract.route import MAX_ROUTE_BYTES, Document, Route
from gateway.control.access.caller import Caller, Known
from gateway.control.api.paths import ModelPath
from gateway.control.body import StrictRoute
from gateway.control.parts import Author, Control, Parts
from gateway.control.rollouts.followed import told_followed
from gateway.control.routing.change import Changed, Intent, check, commit, plan
from gateway.control.routing.cutover import cut
from gateway.control.routing.stored import Stored, read_stored, readable
from gateway.core.diff import differences
from gateway.core.edit import Edit, Replace
from gateway.core.slots import cut_back, cut_over
from gateway.store.documents import HISTORY_LENGTH

_AROUND_A_ROUTE = 4096  # bytes of a request besides the route in it
MAX_DOCUMENTS = 256


class _OneRoute(StrictRoute):
    max_bytes = MAX_ROUTE_BYTES + _AROUND_A_ROUTE


one = APIRouter(tags=["routes"], route_class=_OneRoute)
several = APIRouter(tags=["routes"], route_class=StrictRoute)

Revision = Annotated[int, Field(ge=0)]
Reason = Annotated[str, Field(max_length=512)]
WaitS = Annotated[float, Field(ge=0, le=60)]


class EditRequest(Document):
    """`expected_revision` is the route's revision as the caller knows it (or If-Match); 0 = no route yet."""

    edit: Edit
    expected_revision: Revision | None = None
    reason: Reason = ""
    dry_run: bool = False
    force: bool = False
    wait_s: WaitS = 0


class ApplyRequest(Document):
    """Whole routes of different models, committed together or not at all."""

    documents: tuple[Route, ...] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    expected_revisions: dict[ModelName, Revision] = Field(default_factory=dict)
    reason: Reason = ""
    dry_run: bool = False
    force: bool = False
    wait_s: WaitS = 0


class DiffRequest(Document):
    documents: tuple[Route, ...] = Field(min_length=1, max_length=MAX_DOCUMENTS)


class CutoverRequest(Document):
    """Exactly one of `to` and `back`; `observe_s` is how long traffic is watched after the switch."""

    to: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")] | None = None
    back: bool = False
    expected_revision: Revision | None = None
    reason: Reason = ""
    dry_run: bool = False
    force: bool = False
    wait_s: WaitS = 10
    observe_s: Annotated[float, Field(ge=0, le=30)] = 1


@one.get("/routes")
async def list_routes(control: Control, caller: Caller) -> dict[str, Any]:
    """Every route that the key may see, with its revision."""
    found = []
    for model, read in (await control.steerings.read()).routes.items():
        if caller.sees(model):
            told = {**_told(read.envelope), "document": read.envelope.doc, "problems": read.problems}
            found.append(told)
    return {"routes": found}


@one.get("/export")
async def export(control: Control, caller: Caller) -> dict[str, Any]:
    """Every route as an operator would write it, without defaults and what slots and rollouts derive."""
    documents, unreadable = [], []
    for model, read in (await control.steerings.read()).routes.items():
        if not caller.sees(model):
            continue
        if read.route is None:
            unreadable += [f"{model}: {problem}" for problem in read.problems]
        else:
            derived = {"counting"} | ({"split"} if read.route.slots is not None else set())
            documents.append(
                read.route.model_dump(mode="json", exclude_defaults=True, exclude_none=True, exclude=derived)
            )
    return {"documents": documents, "problems": unreadable}


@one.get("/routes/{model}")
async def show_route(model: ModelPath, control: Control, response: Response) -> dict[str, Any]:
    """The document, who wrote it, what is wrong with it, and which gateways serve it."""
    stored = await read_stored(control.documents, model)
    if not stored.exists:
        raise CallerError(
            "no_route", f"{model} has no route: create one with `turnout route split {model} VERSION=100`"
        )
    response.headers["etag"] = f'"{stored.revision}"'
    return {
        "model": model,
        "revision": stored.revision,
        "author": stored.last.author if stored.last else "",
        "at_ms": stored.last.at_ms if stored.last else 0,
        "reason": stored.last.reason if stored.last else "",
        "document": stored.document,
        "problems": stored.problems,
        "last_good_revision": await _last_good(control, stored),
        "following": await _following(control, stored),
        "gateways": [
            {
                "gateway_id": gateway.gateway_id,
                "address": gateway.address,
                "revision": gateway.revision,
                "serves_this": gateway.revision >= stored.revision,
                "problems": gateway.problems,
            }
            for gateway in await control.fleet.gateways()
        ],
    }


@one.get("/routes/{model}/history")
async def show_history(
    model: ModelPath,
    control: Control,
    limit: Annotated[int, Query(ge=1, le=HISTORY_LENGTH)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> dict[str, Any]:
    """Newest first, each with what it changed against the one before it; `next` goes on as `before`."""
    read = limit + 1 if before is None else HISTORY_LENGTH
    entries = await control.documents.history(keys.route_field(model), limit=read)
    if not entries:
        raise CallerError("no_route", f"{model} never had a route")
    if before is not None:
        entries = [entry for entry in entries if entry.revision < before][: limit + 1]
    told = []
    for entry, older in zip(entries[:limit], [*entries[1:], None], strict=False):
        was = readable(model, older.doc)[0] if older is not None and older.doc is not None else None
        now = readable(model, entry.doc)[0] if entry.doc is not None else None
        is_whole = older is not None or len(entries) <= limit
        changes = [str(change) for change in differences(was, now)] if is_whole else []
        told.append({**_told(entry), "document": entry.doc, "changes": changes})
    following = entries[limit - 1].revision if len(entries) > limit else None
    return {"model": model, "history": told, "next": following}


@one.post("/routes/{model}/edit")
async def edit_route(
    model: ModelPath,
    wish: EditRequest,
    control: Control,
    author: Author,
    caller: Caller,
    if_match: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """One change, by its `kind`: replace, split, shadows, pin, add_rule, remove_rule, fallback, follow,
    rollback, delete."""
    expected = _expected(wish.expected_revision, if_match)
    planned = await plan(control, model, wish.edit, expected_revision=expected)
    warnings = await check(control, [planned], force=wish.force, reason=wish.reason, role=caller.role)
    changed = await commit(control, [planned], warnings=warnings, intent=_intent(wish, author, caller))
    return {**_result(changed, 0), "dry_run": wish.dry_run, "applied": _applied(changed)}


@one.post("/models/{model}/cutover")
async def cutover(
    model: ModelPath,
    wish: CutoverRequest,
    control: Control,
    author: Author,
    caller: Caller,
    if_match: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Checks every worker of the version, switches to it (or `back`), and tells what clients saw."""
    to = wish.to
    if (to is None) != wish.back:
        raise CallerError("bad_request", "give exactly one of `to` and `back`")
    report = await cut(
        control,
        model,
        cut_back if to is None else lambda route: cut_over(route, to=to),
        expected_revision=_expected(wish.expected_revision, if_match),
        intent=_intent(wish, author, caller),
        observe_s=wish.observe_s,
        is_return=wish.back,
    )
    return {**asdict(report), "differences": [str(change) for change in report.differences]}


@several.post("/apply")
async def apply(wish: ApplyRequest, control: Control, author: Author, caller: Caller) -> dict[str, Any]:
    """Every document or none."""
    models = _distinct(wish.documents, caller)
    if strangers := sorted(wish.expected_revisions.keys() - models):
        raise CallerError(
            "bad_request", f"a revision of {strangers[0]} is expected, but no document is about it"
        )
    planned = [
        await plan(
            control,
            route.model,
            Replace(kind="replace", route=route),
            expected_revision=wish.expected_revisions.get(route.model),
        )
        for route in wish.documents
    ]
    warnings = await check(control, planned, force=wish.force, reason=wish.reason, role=caller.role)
    changed = await commit(control, planned, warnings=warnings, intent=_intent(wish, author, caller))
    return {
        "revision": changed.revision,
        "dry_run": changed.dry_run,
        "results": [_result(changed, index) for index in range(len(planned))],
        "applied": _applied(changed),
    }


@several.post("/diff")
async def diff(wish: DiffRequest, control: Control, caller: Caller) -> dict[str, Any]:
    """What `apply` would change; nothing is checked against the pools and nothing is written."""
    _distinct(wish.documents, caller)
    results = []
    for route in wish.documents:
        stored = await read_stored(control.documents, route.model)
        changes = [*stored.problems, *map(str, differences(stored.route, route))]
        results.append({"model": route.model, "revision": stored.revision, "changes": changes})
    return {"drift": any(result["changes"] for result in results), "results": results}


async def _following(control: Parts, stored: Stored) -> dict[str, Any] | None:
    if stored.route is None or stored.route.follow is None:
        return None
    return await told_followed(control.documents, stored.model, leader=await control.leases.leader())


async def _last_good(control: Parts, stored: Stored) -> int | None:
    """The newest revision that gateways could read."""
    if not stored.problems:
        return stored.revision
    for entry in await control.documents.history(keys.route_field(stored.model)):
        if entry.doc is not None and readable(stored.model, entry.doc)[0] is not None:
            return entry.revision
    return None


def _intent(wish: EditRequest | ApplyRequest | CutoverRequest, author: str, caller: Known) -> Intent:
    return Intent(
        author=author,
        reason=wish.reason,
        dry_run=wish.dry_run,
        force=wish.force,
        wait_s=wish.wait_s,
        role=caller.role,
    )


def _expected(in_body: int | None, if_match: str | None) -> int | None:
    if if_match is None or if_match == "*":
        return in_body
    tag = if_match.strip().strip('"')
    if not tag.isdecimal() or in_body not in (None, int(tag)):
        raise CallerError("bad_request", "If-Match must be one revision, the same as `expected_revision`")
    return int(tag)


def _distinct(documents: tuple[Route, ...], caller: Known) -> set[str]:
    """The models, each of which the caller may touch."""
    models = [route.model for route in documents]
    for model in models:
        caller.require(model)
    if doubles := sorted({model for model in models if models.count(model) > 1}):
        raise CallerError(
            "invalid_document",
            f"two documents are about {doubles[0]}",
            problems=[f"{model}: more than one document" for model in doubles],
        )
    return set(models)


def _told(envelope: Envelope) -> dict[str, Any]:
    return {
        "model": envelope.field.removeprefix("route/"),
        "revision": envelope.revision,
        "author": envelope.author,
        "at_ms": envelope.at_ms,
        "reason": envelope.reason,
    }


def _result(changed: Changed, index: int) -> dict[str, Any]:
    result = changed.results[index]
    return {**asdict(result), "differences": [str(change) for change in result.differences]}


def _applied(changed: Changed) -> dict[str, Any] | None:
    return None if changed.applied is None else asdict(changed.applied)
