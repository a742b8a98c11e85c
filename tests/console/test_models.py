from typing import Any

from gateway.console.meter import Meter
from gateway.console.models import row_of, told


def pool(version: str, *, ready: int = 1, wanted: int = 1) -> dict[str, Any]:
    return {"version": version, "ready": ready, "wanted": wanted, "is_short": ready < wanted}


def route(*weights: tuple[str, float], problems: tuple[str, ...] = ()) -> dict[str, Any]:
    split = [{"version": version, "weight": weight} for version, weight in weights]
    return {"document": {"split": split}, "problems": problems, "revision": 7}


def test_a_row_says_who_answers_and_what_is_wrong() -> None:
    row = row_of("digits", route(("1", 95), ("2", 5)), [pool("1"), pool("2", ready=0)])
    assert row["words"] == "version 1 95 %, version 2 5 %"
    assert [part["shown"] for part in row["split"]] == ["1 · 95 %", ""]
    assert row["ills"] == ["2: 0 of 1 workers"]
    assert row["workers"] == "1 of 2 workers"


def test_a_version_that_answers_without_any_worker_wanted_is_an_ill() -> None:
    row = row_of("digits", route(("1", 90), ("2", 10)), [pool("1"), pool("2", ready=0, wanted=0)])
    assert row["ills"] == ["no worker: 2"]


def test_a_part_of_the_bar_shows_what_it_has_room_for() -> None:
    row = row_of("digits", route(("1", 80), ("2", 12), ("3", 8)), [pool("1"), pool("2"), pool("3")])
    assert [part["shown"] for part in row["split"]] == ["1 · 80 %", "2", "3"]


def test_a_model_without_a_route_says_how_to_make_one() -> None:
    row = row_of("new", None, [pool("1")])
    assert row["none"] == "no route yet: turnout route split new 1=100"
    assert row["ills"] == []
    assert row_of("bad", route(("1", 100), problems=("?",)), [])["ills"] == ["its route cannot be read"]


def test_the_address_of_a_hostile_name_stays_below_the_console() -> None:
    assert row_of("a/../<b>", None, [])["to"] == "/console/models/a%2F..%2F%3Cb%3E"


def test_traffic_is_of_the_last_seconds() -> None:
    def answer(requests: int) -> dict[str, Any]:
        rows = [
            {"version": "1", "role": "primary", "requests": requests},
            {"version": "2", "role": "shadow", "requests": 999},
        ]
        return {"first_minute": 0, "versions": rows}

    meter = Meter()
    meter.read(answer(0), 60.0)
    assert meter.read(answer(500), 65.0)["primary", "1"] == 100


def test_failures_are_told_beside_the_traffic() -> None:
    assert told(100.0, 0.02) == {"rate": "100/s", "failed": "2.0 % fail", "kind": "bad"}
    assert told(0.0, 0.0) == {"rate": "0/s"}


def test_a_row_says_which_alias_its_route_follows() -> None:
    follows = route(("1", 100))
    follows["document"]["follow"] = {"alias": "champion", "plan": None}
    assert row_of("digits", follows, [pool("1")])["also"] == "follows champion · revision 7"
