"""`turnout loadtest` and `turnout bench`, where they are used wrongly or have nothing to send."""

import base64
import json
import socket
from pathlib import Path

import click
import pytest

from gateway.cli.loadtest.inputs import inputs_of, read_inputs
from gateway.cli.plots import empty_figure, plot_rates
from gateway.contract import keys
from tests.cli.conftest import Installation, Run

BODY = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 1], "data": [0]}]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "how much load?"),
        (("--rate", "5", "--users", "5"), "not both"),
        (("--scenario", "nope"), "there are: ramp, smoke, soak, spike, users"),
        (("--scenario", "smoke", "--for", "1m"), "have their own times"),
        (("--scenario", "soak"), "give --max-duration"),
        (("--rate", "5", "--for", "soon"), "is not a time"),
        (("--rate", "5", "--url", "http://example.com"), "--allow-host example.com"),
        (("--rate", "5", "--url", "example.com:80"), "is not a URL"),
        (("--rate", "5", "--fail-if", "p99>3"), "needs a unit"),
        (("--rate", "5", "--compare", "nothing.json"), "No such file"),
        (("--rate", "5", "--inputs", "nothing.ndjson"), "No such file"),
        (("--rate", "5", "--join", "here"), "is not HOST:PORT"),
        (("--rate", "5", "--version", "../x"), "no name of a version"),
        (("--scenario", "spike", "--scale", "1000", "--rate", "100000", "--for", "9m"), "are the most"),
        (("--users", "600", "--scale", "2"), "900 users at most: give --processes"),
        (("--rate", "5", "--recorded", "--inputs", "x"), "not both"),
    ],
)
def test_wrong_use_is_told_before_anything_is_sent(run: Run, options: tuple[str, ...], words: str) -> None:
    found = run("loadtest", "digits", *options)
    assert found.code == 2
    assert words in found.err


def test_without_locust_the_command_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = run("loadtest", "digits", "--rate", "5")
    assert found.code == 2
    assert "pip install 'turnout[loadtest]'" in found.err


def test_a_worker_without_its_run_says_so_and_gives_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr("gateway.cli.loadtest.run.JOIN_S", 0.2)
    monkeypatch.setattr("gateway.cli.loadtest.run.AGAIN_S", 0.05)
    with socket.socket() as bound:  # it does not listen
        bound.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*bound.getsockname())
        found = run("loadtest", "--join", address)
    assert found.code == 5
    assert f"nobody listens at {address} yet (Connection refused): trying for 0 s more" in found.out
    assert found.err.startswith(f"turnout: nobody listens at {address} (Connection refused), for")
    assert "turnout loadtest MODEL --rate 100 --processes 2 --listen" in found.err


def test_a_scenario_with_mistakes_names_each_with_its_path(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("phases: [{for_s: 1, at: 5}, {for_s: 0, at: 5}]\nrate: 3\n")
    found = run("loadtest", "digits", "--scenario", file)
    assert found.code == 2
    assert "phases.1.for_s" in found.err
    assert "rate: Extra inputs" in found.err


def test_recorded_requests_are_what_gateways_kept(installation: Installation, run: Run) -> None:
    nothing = run("loadtest", "digits", "--rate", "5", "--recorded")
    assert (nothing.code, "record: {bodies: true}" in nothing.err) == (2, True)
    told = b"1 " + json.dumps(BODY).encode()
    installation.call(lambda redis: _kept(redis, told))
    refused = run("loadtest", "digits", "--rate", "5", "--recorded", "--max-duration", "1s")
    assert "at most 1s are allowed" in refused.err  # it got as far as that


async def _kept(redis: object, told: bytes) -> None:
    await redis.lpush(keys.samples("digits"), told)  # type: ignore[attr-defined]


def test_inputs_are_bodies_with_or_without_labels(tmp_path: Path) -> None:
    file = tmp_path / "inputs.ndjson"
    coded = base64.b64encode(json.dumps(BODY).encode()).decode()
    lines = [{"body": BODY, "label": 7}, BODY, {"body": coded, "label": "cat"}, {"prediction_id": "x"}]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    found = read_inputs(file)
    assert [each.label for each in found] == [7, None, "cat"]
    assert all(json.loads(each.body) == BODY for each in found)


@pytest.mark.parametrize(
    ("line", "words"),
    [("{", "line 1: not JSON"), ("{}", "no `inputs`"), ('{"body":"%%"}', "neither"), ("", "no request"),
     ('{"prediction_id":"a"}', "bodies are kept where"),
     ('{"body":{"inputs":[]},"label":[1]}', "one value")],
)  # fmt: skip
def test_a_line_that_is_no_request_is_named(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "inputs.ndjson"
    file.write_text(line)
    with pytest.raises(click.UsageError, match=words):
        read_inputs(file)


def test_inputs_that_are_too_long_are_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "inputs.ndjson"
    with file.open("wb") as opened:
        opened.truncate(17 << 20)
    with pytest.raises(click.UsageError, match="longer than 16 MiB"):
        read_inputs(file)


def test_the_demos_models_have_inputs_of_their_own() -> None:
    assert len(inputs_of("digits", None)) > 500
    with pytest.raises(click.UsageError, match="give --inputs"):
        inputs_of("fraud", None)


def test_a_bench_of_a_version_without_workers_says_so(installation: Installation, run: Run) -> None:
    found = run("bench", "versions", "digits", "9")
    assert found.code == 1
    assert "no version 9" in found.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digits", "1", "--url", "http://example.com"), "--allow-host example.com"),
        (("digits", "1", "../x"), "no name of a version"),
        (("../digits", "1"), "no name of a model"),
        (("digits", "1", "--recorded", "--inputs", "x"), "not both"),
    ],
)
def test_a_bench_that_is_used_wrongly_sends_nothing(run: Run, arguments: tuple[str, ...], words: str) -> None:
    found = run("bench", "versions", *arguments)
    assert (found.code, words in found.err) == (2, True)


def test_the_last_second_of_a_run_is_drawn() -> None:
    series = [{"at_s": float(at), "intended": None, "sent": 20.0, "failed": 0.0} for at in range(3)]
    [axes] = plot_rates(series, empty_figure()).axes
    assert max(axes.get_lines()[0].get_xdata()) == 3.0
