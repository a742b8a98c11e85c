"""`gateway.core.announce`: what a version that ends says in each of its replies."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from gateway.contract.standing import Standing
from gateway.core.announce import announcement, farewell
from gateway.core.compile import EMPTY, compile_changes
from tests.core.test_compile import envelope, version

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
UNTIL = datetime(2026, 12, 31, 12, tzinfo=UTC)


def standing(**fields: Any) -> Standing:
    return Standing.model_validate({"model": "digits", "version": "1", **fields})


def headers(said: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in said.splitlines())


def test_a_version_that_does_not_end_announces_nothing() -> None:
    assert announcement(None) == ""
    assert announcement(standing(state="approved")) == ""


def test_a_deprecated_version_says_since_when_until_when_and_what_instead() -> None:
    said = headers(
        announcement(standing(state="deprecated", deprecated_at=SINCE, sunset_at=UNTIL, successor="2"))
    )
    assert said["deprecation"] == f"@{int(SINCE.timestamp())}"
    assert parsedate_to_datetime(said["sunset"]) == UNTIL
    assert said["link"] == '</v2/models/digits/versions/2/infer>; rel="successor-version"'


def test_a_retired_version_names_its_successor() -> None:
    assert "successor 2" in farewell(standing(state="retired", successor="2"))


def test_only_standings_that_requests_must_know_of_are_kept() -> None:
    one = compile_changes(
        EMPTY,
        revision=1,
        changed={
            "version/digits/1": envelope(version("digits", "1"), 1),
            "standing/digits/1": envelope(standing(state="approved").model_dump(mode="json"), 1),
        },
    )
    assert one.models["digits"].ending == {}
    ending = standing(state="deprecated", sunset_at=UNTIL).model_dump(mode="json")
    two = compile_changes(one, revision=2, changed={"standing/digits/1": envelope(ending, 2)})
    assert two.models["digits"].ending["1"].sunset_at == UNTIL
    assert two.models["digits"].versions is one.models["digits"].versions
    again = compile_changes(two, revision=3, changed={"standing/digits/1": None})
    assert again.models["digits"].ending == {}


def test_a_standing_is_kept_over_a_new_route() -> None:
    ending = standing(state="deprecated", sunset_at=UNTIL).model_dump(mode="json")
    one = compile_changes(
        EMPTY,
        revision=1,
        changed={
            "version/digits/1": envelope(version("digits", "1"), 1),
            "standing/digits/1": envelope(ending, 1),
        },
    )
    route = {"model": "digits", "split": [{"version": "1", "weight": 100}]}
    two = compile_changes(one, revision=2, changed={"route/digits": envelope(route, 2)})
    assert list(two.models["digits"].ending) == ["1"]
    assert len(two.models["digits"].lines()) == 3
