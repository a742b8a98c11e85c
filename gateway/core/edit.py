"""What an operator may do to one route, and what the route looks like afterwards.

An edit is a small document (`Edit`, one `kind` each); `edit_route` gives the new route or raises an
`invalid_document` that lists every problem. Nothing here knows which versions are registered or have workers
(`core.check`), nor the revision that the edit must find (the store compares it).

Pure. Called by `control.routing.change`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, assert_never

from pydantic import Field, ValidationError

from gateway.contract.envelope import Envelope
from gateway.contract.errors import CallerError
from gateway.contract.names import VersionName
from gateway.contract.route import (
    MAX_SHADOWS,
    Document,
    Follow,
    Match,
    Route,
    Rule,
    Shadow,
    Weight,
    problems_of,
)


class Replace(Document):
    """The whole route at once."""

    kind: Literal["replace"]
    route: Route


class SetSplit(Document):
    """Who answers, in percent. On a route with slots, a split that is not the live version dissolves them."""

    kind: Literal["split"]
    split: tuple[Weight, ...] = Field(min_length=1, max_length=64)


class SetShadows(Document):
    """Who gets copies; an empty list ends them. A shadow keeps its `match` when the edit gives none."""

    kind: Literal["shadows"]
    shadows: tuple[Shadow, ...] = Field(max_length=MAX_SHADOWS)


class Pin(Document):
    """Requests that satisfy `match` go to one version; without `match`, every request does."""

    kind: Literal["pin"]
    version: VersionName
    match: tuple[Match, ...] = Field(default=(), max_length=16)
    name: str | None = Field(default=None, description="the rule's name; absent = pin-<version>")


class AddRule(Document):
    """A rule in front of the others, or in the place of the one with the same name."""

    kind: Literal["add_rule"]
    rule: Rule


class RemoveRule(Document):
    kind: Literal["remove_rule"]
    name: str


class SetFallback(Document):
    """Who answers when the chosen version has no worker; null = nobody (503)."""

    kind: Literal["fallback"]
    version: VersionName | None


class SetFollow(Document):
    """Which alias the route follows, and by which plan; null = its versions move only by hand."""

    kind: Literal["follow"]
    follow: Follow | None


class Rollback(Document):
    """An earlier form of the route; without `to`, the one before the last change, which must not be a way
    back itself."""

    kind: Literal["rollback"]
    to: int | None = Field(default=None, ge=1)


class Delete(Document):
    kind: Literal["delete"]


Edit = Annotated[
    Replace
    | SetSplit
    | SetShadows
    | Pin
    | AddRule
    | RemoveRule
    | SetFallback
    | SetFollow
    | Rollback
    | Delete,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class Edited:
    """The route after the edit (None = deleted), and what the operator should know about it."""

    route: Route | None
    notes: tuple[str, ...] = ()


def edit_route(model: str, current: Route | None, edit: Edit, *, history: Sequence[Envelope] = ()) -> Edited:
    """`history` (newest first) is needed by `Rollback` only; `current` is None where there is no route."""
    match edit:
        case Replace(route=route):
            return Edited(_about(model, route))
        case SetSplit(split=split):
            return _set_split(model, current, split)
        case Pin(version=version, match=()):
            return _set_split(model, current, (Weight(version=version, weight=100),))
        case Rollback(to=to):
            return Edited(earlier_form(model, history, to=to))
        case Delete():
            _existing(model, current)
            return Edited(None)
        case _:
            return _edit_part(_existing(model, current), edit)


def _edit_part(
    route: Route, edit: SetShadows | Pin | AddRule | RemoveRule | SetFallback | SetFollow
) -> Edited:
    match edit:
        case SetShadows(shadows=shadows):
            kept = {shadow.version: shadow.match for shadow in route.shadows}
            return Edited(
                _changed(
                    route,
                    shadows=[
                        {
                            "version": shadow.version,
                            "percent": shadow.percent,
                            "match": shadow.match or kept.get(shadow.version, ()),
                        }
                        for shadow in shadows
                    ],
                )
            )
        case Pin(version=version, match=conditions, name=name):
            rule = _rule(name or f"pin-{version.lower()}", version, conditions)
            return Edited(_with_rule(route, rule))
        case AddRule(rule=rule):
            return Edited(_with_rule(route, rule))
        case RemoveRule(name=name):
            return Edited(_without_rule(route, name))
        case SetFallback(version=version):
            return Edited(_changed(route, fallback=version))
        case SetFollow(follow=follow):
            return Edited(_changed(route, follow=None if follow is None else follow.model_dump()))
        case _:
            assert_never(edit)


def earlier_form(model: str, history: Sequence[Envelope], *, to: int | None) -> Route:
    """The route as revision `to` wrote it, or the newest form that differs from the present one."""
    if to is not None:
        return _form_of(model, history, to)
    if history and history[0].is_return:
        raise went_back_already(model, history)
    present = history[0].doc if history else None
    before = _newest_unlike(present, history[1:])
    if before is None:
        raise CallerError("not_found", f"{model} has no earlier route to go back to")
    return _read_form(model, before)


def went_back_already(model: str, history: Sequence[Envelope]) -> CallerError:
    """Why nothing goes back twice by itself: the second time would bring back what the first took away, when
    somebody types it twice, or two people do."""
    last, earlier = history[0], history[1:]
    left = earlier[0] if earlier else None
    same = next((index for index, entry in enumerate(earlier) if entry.doc == last.doc), -1)
    before = _newest_unlike(last.doc, earlier[same + 1 :], but=left)
    back = f"turnout route rollback {model} --to"
    ways = [f"`{back} {before.revision}` goes further back"] if before is not None else []
    if left is not None and left.doc is not None:
        ways.append(f"`{back} {left.revision}` returns to what it left")
    return CallerError(
        "refused",
        f"{model} went back already, in revision {last.revision} by {last.author}, so nothing was changed"
        + (f": {', '.join(ways)}" if ways else ""),
        went_back_in=last.revision,
        further_back=None if before is None else before.revision,
        left=None if left is None else left.revision,
    )


def _newest_unlike(
    doc: dict[str, Any] | None, history: Sequence[Envelope], *, but: Envelope | None = None
) -> Envelope | None:
    others = (entry for entry in history if entry.doc is not None and entry.doc != doc)
    return next((entry for entry in others if but is None or entry.doc != but.doc), None)


def _form_of(model: str, history: Sequence[Envelope], revision: int) -> Route:
    for entry in history:
        if entry.revision == revision:
            if entry.doc is None:
                raise CallerError("bad_request", f"revision {revision} deleted the route of {model}")
            return _read_form(model, entry)
    kept = ", ".join(str(entry.revision) for entry in history[:8] if entry.doc is not None)
    raise CallerError(
        "not_found",
        f"the route of {model} has no revision {revision}"
        + (f"; the newest are {kept}: see `turnout route history {model}`" if kept else ""),
    )


def _read_form(model: str, entry: Envelope) -> Route:
    try:
        return Route.model_validate(entry.doc)
    except ValidationError as error:
        raise CallerError(
            "invalid_document",
            f"revision {entry.revision} of {model} is not a valid route any more",
            problems=problems_of(error),
        ) from None


def _existing(model: str, current: Route | None) -> Route:
    if current is None:
        raise CallerError(
            "no_route", f"{model} has no route: create one with `turnout route split {model} VERSION=100`"
        )
    return current


def _about(model: str, route: Route) -> Route:
    if route.model != model:
        raise CallerError(
            "invalid_document",
            f"the document is about {route.model}, not about {model}",
            problems=[f"model: is {route.model}, but the request is about {model}"],
        )
    return route


def _set_split(model: str, current: Route | None, split: Sequence[Weight]) -> Edited:
    weights = [entry.model_dump() for entry in split]
    if current is None:
        return Edited(_built({"model": model, "split": weights}))
    if current.slots is None:
        return Edited(_changed(current, split=weights))
    answering = [(entry.version, entry.weight) for entry in split if entry.weight > 0]
    if answering == [(current.slots.live_version, 100)]:
        return Edited(_changed(current, split=weights))
    note = (
        f"the blue and green slots of {model} are dissolved: a split decides now "
        f"(`turnout cutover {model} --to VERSION` makes new ones)"
    )
    return Edited(_changed(current, split=weights, slots=None), (note,))


def _rule(name: str, version: str, conditions: Sequence[Match]) -> Rule:
    try:
        return Rule.model_validate(
            {
                "name": name,
                "match": [condition.model_dump() for condition in conditions],
                "split": [{"version": version, "weight": 100}],
            }
        )
    except ValidationError as error:
        raise _invalid(error) from None


def _with_rule(route: Route, rule: Rule) -> Route:
    if any(known.name == rule.name for known in route.rules):
        rules = [rule if known.name == rule.name else known for known in route.rules]
    else:
        rules = [rule, *route.rules]
    return _changed(route, rules=[known.model_dump() for known in rules])


def _without_rule(route: Route, name: str) -> Route:
    rules = [rule.model_dump() for rule in route.rules if rule.name != name]
    if len(rules) == len(route.rules):
        names = ", ".join(rule.name for rule in route.rules) or "none"
        raise CallerError("not_found", f"{route.model} has no rule named {name} (it has: {names})")
    return _changed(route, rules=rules)


def _changed(route: Route, **fields: Any) -> Route:
    return _built({**route.model_dump(), **fields})


def _built(fields: dict[str, Any]) -> Route:
    try:
        return Route.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> CallerError:
    problems = problems_of(error)
    return CallerError("invalid_document", "the route would not be valid: " + problems[0], problems=problems)
