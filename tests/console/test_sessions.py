"""What a browser holds of its session, and how many of them the console remembers."""

import pytest

from gateway.console import sessions
from gateway.console.sessions import COOKIE, Sessions, session_cookie


def of(name: str) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", f"{COOKIE}={name}".encode())]


def test_over_https_the_cookie_is_sent_over_https_alone() -> None:
    assert b"; Secure" in session_cookie({"headers": [(b"x-forwarded-proto", b"https")]}, "n")
    assert b"; Secure" not in session_cookie({"headers": []}, "n")  # a browser would not keep it


def test_the_session_that_was_used_longest_ago_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    kept = Sessions()
    (first, mine), (second, _) = kept.open(), kept.open()
    assert kept.find(of(first)) is mine
    kept.open()
    assert kept.find(of(first)) is mine
    assert kept.find(of(second)) is None


def test_a_closed_session_is_no_more_and_nonsense_is_none() -> None:
    kept = Sessions()
    name, _ = kept.open()
    kept.close(of(name))
    for wrong in (name, "", "made-up", "\x00", '"'):
        assert kept.find(of(wrong)) is None
    assert kept.find([(b"cookie", b"\xff=;;=")]) is None
