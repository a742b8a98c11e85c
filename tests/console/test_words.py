from gateway.console.words import command, pool_kind, pool_words, served, split_command, with_options


def test_a_command_is_safe_to_paste_whatever_was_typed() -> None:
    line = with_options(command("route", "split", "digits", "1=100"), reason="it's $(rm -rf) <b>", force=True)
    assert line == "turnout route split digits 1=100 --force --reason 'it'\"'\"'s $(rm -rf) <b>'"
    assert split_command("a b", {"1": 99.9, "2": 0.1}) == "turnout route split 'a b' 1=99.9 2=0.1"


def test_it_is_said_how_long_all_gateways_took_and_which_are_late() -> None:
    whole = {"complete": True, "gateways": 3, "of": 3, "ms": 30.6, "stale": []}
    assert served(whole) == "; 3 of 3 gateways serve it, 31 ms after the click"
    late = {**whole, "complete": False, "gateways": 2, "stale": [{"address": "h:1", "revision": 7}]}
    assert served(late) == "; 2 of 3 gateways serve it; h:1 is still at 7"
    assert served({**whole, "gateways": 0, "of": 0}) == "; no gateway is running"
    assert served(None) == ""


def test_a_pool_that_something_needs_is_not_told_that_nothing_does() -> None:
    pool = {"wanted": 0, "ready": 0, "reasons": []}
    assert (pool_words(pool), pool_kind(pool)) == ("no worker: nothing needs it", "")
    needed = {**pool, "reasons": ["split 40 %"]}
    assert (pool_words(needed), pool_kind(needed)) == ("no worker", "bad")
