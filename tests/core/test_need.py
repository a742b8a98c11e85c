"""Which versions need workers, why, and until when: documents in, reasons out."""

from typing import Any

from gateway.contract.envelope import Envelope
from gateway.contract.plan import Plan
from gateway.contract.pool import Keep, Wanted
from gateway.contract.rollout import Phase
from gateway.contract.route import Route
from gateway.core.need import Form, Need, forms_of, needs
from gateway.core.rollouts.rollout_commands import started

BY_NEED = Wanted(workers=2, keep=Keep.NEEDED)
WARM_S = 300.0


def route(*versions: str, **fields: Any) -> Route:
    split = [{"version": version, "weight": 100 / len(versions)} for version in versions]
    return Route.model_validate({"model": "digits", "split": split, **fields})


def of(*forms: Form, wanted: dict[str, Wanted] | None = None, **rest: Any) -> dict[str, Need]:
    wanted = dict.fromkeys("123456", BY_NEED) if wanted is None else wanted
    return needs(wanted=wanted, forms=forms, **{"rollout": None, "keep_warm_s": WARM_S, **rest})


def envelope(at_ms: int, doc: Any) -> Envelope:
    return Envelope(field="route/digits", revision=at_ms, at_ms=at_ms, author="", reason="", doc=doc)


def document(*versions: str) -> dict[str, Any]:
    return route(*versions).model_dump(mode="json", exclude_none=True)


def test_every_place_of_a_route_is_a_reason_and_the_rest_needs_nothing() -> None:
    rule = {
        "name": "beta",
        "match": [{"header": "x", "present": True}],
        "split": [{"version": "2", "weight": 100}],
    }
    found = of(Form(route("1", rules=[rule], shadows=[{"version": "3", "percent": 20}], fallback="4")))
    assert {version: need.reasons for version, need in found.items()} == {
        "1": ("split 100 %",), "2": ("rule beta 100 %",), "3": ("shadow 20 %",), "4": ("fallback",),
    }  # fmt: skip
    assert all(need == Need(2, need.reasons) and need.is_on(10**15) for need in found.values())


def test_both_slots_are_needed_so_that_the_way_back_is_open() -> None:
    slots = {"blue": "1", "green": "2", "live": "blue"}
    found = of(Form(Route.model_validate({"model": "digits", "slots": slots})))
    assert {version: need.reasons for version, need in found.items()} == {
        "1": ("slot blue (live)",), "2": ("slot green",),
    }  # fmt: skip


def test_what_the_route_named_stays_warm_for_the_grace_and_not_a_moment_longer() -> None:
    history = [
        envelope(5_000, document("3")),
        envelope(3_000, document("2")),
        envelope(1_000, document("1", "2")),
    ]
    found = of(*forms_of(history[0], history))
    assert set(found) == {"1", "2", "3"}
    assert found["3"].until_ms is None
    # 2 left with the newest change, 1 with the one before it.
    assert [found[version].until_ms for version in "21"] == [305_000, 303_000]
    assert (found["2"].is_on(304_999), found["2"].is_on(305_000)) == (True, False)


def test_a_deleted_route_stays_warm_and_an_unreadable_one_counts_as_it_was() -> None:
    history = [envelope(5_000, None), envelope(1_000, document("1"))]
    assert of(*forms_of(None, history))["1"].until_ms == 305_000
    broken = envelope(9_000, {"model": "digits", "split": "half"})
    assert of(*forms_of(broken, [envelope(1_000, document("1"))]))["1"].until_ms is None


def test_who_is_asked_for_is_needed_until_then_and_longer_where_a_route_names_it() -> None:
    asked = Wanted(workers=1, keep=Keep.NEEDED, asked_until_ms=700)
    assert of(wanted={"1": asked}) == {"1": Need(1, ("asked for",), 700)}
    assert of(Form(route("1")), wanted={"1": asked})["1"].until_ms is None
    assert of(Form(route("1"), 600), wanted={"1": asked})["1"].until_ms == 300_600


def test_always_means_always_and_a_size_of_0_means_none() -> None:
    wanted = {"1": Wanted(workers=3), "2": Wanted(workers=0, keep=Keep.NEEDED)}
    found = of(Form(route("2")), wanted=wanted)
    assert found["1"] == Need(3, ("always",))
    assert found["2"].workers == 0


def test_a_rollout_keeps_its_candidate_and_the_way_back_and_both_warm_after_its_end() -> None:
    before = route("1", "2")
    made = started(
        Plan.model_validate(
            {"model": "digits", "candidate": "4", "baseline": "1", "steps": [{"weight": 5}, {"weight": 100}]}
        ),
        route=before, route_revision=1, rollout_id="r1", author="ana", now_ms=1_000,
    )  # fmt: skip
    rollout = made.rollout
    only_candidate = Form(route("4"))
    found = of(only_candidate, rollout=rollout)
    assert {version: need.reasons for version, need in found.items()} == {
        "4": ("split 100 %", "rollout r1"),
        "1": ("rollout r1 may go back to it",),
        "2": ("rollout r1 may go back to it",),
    }
    over = rollout.model_copy(update={"phase": Phase.SUCCEEDED})
    assert of(only_candidate, rollout=over)["1"].until_ms == 301_000
