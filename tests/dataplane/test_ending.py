"""Versions that end say so in every reply; ended ones do not answer and name their successor."""

from typing import Any

from tests.dataplane.conftest import Turnout

ENDS = {"deprecated_at": "2026-11-01T00:00:00Z", "sunset_at": "2026-12-31T00:00:00Z", "successor": "2"}


async def stand(turnout: Turnout, **fields: Any) -> None:
    document = {"model": "digits", "version": "1", **fields}
    committed = await turnout.commit({"standing/digits/1": document})
    await turnout.serves(committed.revision)


async def test_a_deprecated_version_announces_its_end_and_still_answers(turnout: Turnout) -> None:
    await turnout.route()
    await turnout.worker()
    await turnout.start()
    assert "deprecation" not in (await turnout.infer())[1]
    await stand(turnout, state="deprecated", **ENDS)
    status, headers, _ = await turnout.infer()
    assert status == 200
    assert headers["deprecation"] == "@1793491200"
    assert headers["sunset"] == "Thu, 31 Dec 2026 00:00:00 GMT"
    assert "versions/2/infer" in headers["link"]


async def test_a_retired_version_is_refused_with_its_successor_by_path_and_by_header(
    turnout: Turnout,
) -> None:
    await turnout.route(split=[{"version": "2", "weight": 100}])
    await turnout.worker(version="2")
    await turnout.start()
    await stand(turnout, state="retired", **ENDS)
    for status, headers, body in (
        await turnout.post("/v2/models/digits/versions/1/infer"),
        await turnout.infer(turnout_version="1"),
    ):
        assert (status, headers["turnout-error"]) == (410, "retired")
        assert "successor 2" in body["error"]
    assert (await turnout.infer())[1]["turnout-version"] == "2"


async def test_a_standing_alone_is_no_model(turnout: Turnout) -> None:
    await turnout.route()
    await turnout.start()
    ghost = {"model": "ghost", "version": "1", "state": "retired"}
    await turnout.serves((await turnout.commit({"standing/ghost/1": ghost})).revision)
    assert (await turnout.post("/v2/models/ghost/infer"))[0] == 404
