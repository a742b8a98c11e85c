"""Which systems are measured, and for how long."""

import argparse

import pytest

from loadtests.effort import FULL, QUICK, add_options, chosen, effort

SYSTEMS = ("nginx", "envoy", "turnout")


def read(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser, always="nginx")
    return parser.parse_args(words)


def test_a_look_is_shorter_and_less_patient_than_a_result() -> None:
    assert effort(read()) == FULL
    assert effort(read("--quick")) == QUICK
    assert (QUICK.rounds, QUICK.seconds, QUICK.patience_s) < (FULL.rounds, FULL.seconds, FULL.patience_s)


def test_rounds_and_seconds_can_be_given_alone() -> None:
    found = effort(read("--quick", "--rounds", "5"))
    assert (found.rounds, found.seconds, found.patience_s) == (5, QUICK.seconds, QUICK.patience_s)


def test_the_reference_is_measured_whatever_is_chosen() -> None:
    parser = argparse.ArgumentParser()
    assert chosen(parser, None, SYSTEMS, always="nginx") == SYSTEMS
    assert chosen(parser, "turnout", SYSTEMS, always="nginx") == ("nginx", "turnout")


def test_an_unknown_system_is_refused_and_the_known_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chosen(argparse.ArgumentParser(), "squid", SYSTEMS, always="nginx")
    assert "there is no system squid; there are nginx, envoy, turnout" in capsys.readouterr().err
