"""Routes that do not follow their alias yet are what somebody is told of."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.contract.alias import Answer, Following
from gateway.contract.pool import Presence
from gateway.contract.route import Route
from gateway.control.status import installation_problems

GATEWAY = Presence(gateway_id="gw-1", pid=1, address="127.0.0.1:1", revision=9, started_ms=1, problems=0)


def told(answer: Answer, follow: Mapping[str, Any] | None) -> list[str]:
    document = {"model": "digits", "split": [{"version": "1", "weight": 100}], "follow": follow}
    following = Following(
        alias="champion", version="3", aliases_revision=5, answer=answer, sentence="why it stands"
    )
    problems = installation_problems(
        revision=9,
        gateways=[GATEWAY],
        pools=[],
        routes={"digits": Route.model_validate(document)},
        route_problems={},
        followings={"digits": following},
    )
    return [problem for problem in problems if "follow" in problem]


@pytest.mark.parametrize("answer", [Answer.WAITING, Answer.REFUSED])
def test_a_follower_that_waits_or_is_refused_needs_somebody(answer: Answer) -> None:
    assert told(answer, {"alias": "champion", "plan": None}) == [
        f"the route of digits does not follow champion to version 3 yet, {answer}: why it stands "
        "(`turnout alias show digits`)"
    ]


@pytest.mark.parametrize(
    ("answer", "follow"),
    [
        (Answer.ARRIVED, {"alias": "champion", "plan": None}),
        (Answer.WAITING, {"alias": "other", "plan": None}),
        (Answer.WAITING, None),
    ],
)
def test_one_that_arrived_or_follows_it_no_more_needs_nobody(answer: Answer, follow: Any) -> None:
    assert told(answer, follow) == []
