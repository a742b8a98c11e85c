"""What the address of a Redis names, and what of it may be shown."""

import pytest

from gateway.contract.redis_url import Sentinels, bare, sentinels_in


def test_an_address_names_a_server_or_sentinels() -> None:
    assert sentinels_in("rediss://me:secret@cache:6380/1") is None
    assert sentinels_in("unix:///data/redis.sock") is None
    assert sentinels_in("redis+sentinel://me:s3@one:1,two/main/2?health_check_interval=5") == Sentinels(
        (("one", 1), ("two", 26379)), "main", "redis://me:s3@/2?health_check_interval=5"
    )
    tls = sentinels_in("rediss+sentinel://one/main")
    assert tls is not None
    assert (tls.is_tls, tls.server_url) == (True, "rediss:///")


@pytest.mark.parametrize("url", ["redis://me:p@ss@cache:6380/1", "redis+sentinel://:p@ss@cache:6380/1"])
def test_what_is_shown_of_an_address_has_no_password(url: str) -> None:
    assert bare(url).partition("://")[2] == "cache:6380/1"


def test_what_has_no_password_is_shown_as_it_is() -> None:
    assert bare("unix:///data/redis.sock") == "unix:///data/redis.sock"
