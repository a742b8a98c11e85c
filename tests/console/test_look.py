import pytest

from gateway.console.api import ApiError
from gateway.console.feed import Topic
from gateway.console.look import _is_news, _title
from gateway.console.sessions import Session


@pytest.mark.parametrize(
    ("status", "is_news"), [(0, True), (403, True), (503, True), (502, True), (404, False), (422, False)]
)
def test_the_banner_tells_what_a_page_does_not_say_itself(status: int, is_news: bool) -> None:
    error = ApiError("code", "words", status)
    assert _is_news(Topic("/routes", {}, 1.0, Session(), error=error)) is is_news
    assert not _is_news(Topic("/routes", {}, 1.0, Session()))


def test_the_banner_says_who_is_away() -> None:
    assert "Redis is away" in _title("store_away")
    assert "control API does not answer" in _title("unreachable")
