from gateway.console.api import Api
from gateway.console.feed import Feed
from gateway.console.sessions import Session
from tests.sockets import free_port


async def test_pages_share_what_is_asked_only_where_the_key_is_the_same() -> None:
    """What one viewer may see is no answer to another."""
    feed = Feed(Api(f"http://127.0.0.1:{free_port()}"))
    mine = feed.want(Session(author="ana", key="a"), "/routes")
    assert feed.want(Session(author="bo", key="a"), "/routes") is mine
    for other in (Session(key="b"), Session()):
        assert feed.want(other, "/routes") is not mine
    await feed.aclose()
