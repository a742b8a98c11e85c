"""`gateway.core.check`: may this route be committed now?"""

from typing import Any

from gateway.contract.route import Route
from gateway.contract.signature import Signature, TensorSpec
from gateway.contract.version import Version
from gateway.core.check import Findings, check_route


def version(name: str, *, outputs: tuple[str, ...] = ("label",), inputs: str = "X") -> Version:
    return Version(
        model="digits",
        version=name,
        digest=name.zfill(64),
        size_bytes=1,
        signature=Signature(
            inputs=(TensorSpec(name=inputs, datatype="FP32", shape=(-1, 64)),),
            outputs=tuple(TensorSpec(name=output, datatype="INT64", shape=(-1,)) for output in outputs),
        ),
    )


KNOWN = {name: version(name) for name in ("1", "2", "3")}
ALL_READY = {"1": 1, "2": 1, "3": 1}


def route(*weights: tuple[str, float], **fields: Any) -> Route:
    split = [{"version": name, "weight": weight} for name, weight in weights]
    return Route.model_validate({"model": "digits", "split": split, **fields})


def check(wanted: Route, *, before: Route | None = None, ready: dict[str, int] = ALL_READY) -> Findings:
    return check_route(wanted, before=before, versions=KNOWN, ready=ready)


def test_a_route_of_registered_versions_with_workers_is_fine() -> None:
    wanted = route(("1", 90), ("2", 10), shadows=[{"version": "3"}], fallback="1")
    assert check(wanted) == Findings((), (), ())


def test_every_unregistered_version_is_told_with_its_path() -> None:
    wanted = route(
        ("1", 90),
        ("7", 10),
        rules=[
            {
                "name": "a",
                "match": [{"header": "x", "exact": "1"}],
                "split": [{"version": "8", "weight": 100}],
            }
        ],
        shadows=[{"version": "9"}],
        fallback="6",
    )
    assert [problem.split(":")[0] for problem in check(wanted).problems] == [
        "split.1.version",
        "rules.0.split.0.version",
        "shadows.0.version",
        "fallback",
    ]
    assert "version 7 of digits is not registered (registered: 1, 2, 3)" in check(wanted).problems[0]


def test_slots_are_checked_instead_of_the_derived_split() -> None:
    wanted = Route.model_validate({"model": "digits", "slots": {"blue": "8", "green": "9", "live": "blue"}})
    assert [problem.split(":")[0] for problem in check(wanted).problems] == ["slots.blue", "slots.green"]


def test_a_recorded_output_must_exist_in_every_version() -> None:
    wanted = route(("1", 100), record={"output": "probability"})
    assert check(wanted).problems == (
        "record.output: version 1 has no output named probability (it has label)",
    )


def test_new_traffic_for_a_version_without_workers_is_refused() -> None:
    refusals = check(route(("1", 90), ("2", 10)), ready={"1": 1}).refusals
    assert len(refusals) == 1
    assert "version 2 of digits has no ready worker" in refusals[0]
    assert "turnout pools start digits 2" in refusals[0]


def test_traffic_may_be_taken_away_from_a_dead_version() -> None:
    before = route(("1", 50), ("2", 50))
    assert check(route(("1", 90), ("2", 10)), before=before, ready={"1": 1}).refusals == ()


def test_other_settings_may_change_while_a_version_is_dead() -> None:
    before = route(("1", 50), ("2", 50))
    assert check(route(("1", 50), ("2", 50), timeout_s=1), before=before, ready={}).refusals == ()


def test_rules_and_fallbacks_need_workers_too() -> None:
    rule = {
        "name": "a",
        "match": [{"header": "x", "exact": "1"}],
        "split": [{"version": "2", "weight": 100}],
    }
    wanted = route(("1", 100), rules=[rule], fallback="3")
    assert len(check(wanted, before=route(("1", 100)), ready={"1": 1}).refusals) == 2


def test_a_weight_of_zero_needs_no_worker() -> None:
    assert check(route(("1", 100), ("2", 0)), ready={"1": 1}).refusals == ()


def test_a_shadow_without_worker_is_a_warning_only() -> None:
    found = check(route(("1", 100), shadows=[{"version": "3"}]), ready={"1": 1})
    assert found.refusals == ()
    assert "shadow 3 has no ready worker" in found.warnings[0]


def test_a_shadow_of_itself_and_different_inputs_are_warned_of() -> None:
    wanted = route(("1", 100), shadows=[{"version": "1"}])
    assert "compared with itself" in check(wanted).warnings[0]
    other = {**KNOWN, "2": version("2", inputs="Y")}
    found = check_route(route(("1", 90), ("2", 10)), before=None, versions=other, ready=ALL_READY)
    assert "different inputs" in found.warnings[0]
