"""A role that is taken away counts at once, also for a console page that is open already."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from gateway.console.api import Api, ApiError
from gateway.console.feed import Feed
from gateway.console.sessions import Session
from tests.faults.test_access_faults import control
from tests.sockets import free_port
from tests.store.samples import until


@pytest.fixture
async def url(redis_url: str, tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    with control(redis_url, tmp_path, port):
        yield f"http://127.0.0.1:{port}"


async def test_an_open_page_of_a_revoked_key_shows_nothing_any_more_and_changes_nothing(url: str) -> None:
    async with httpx2.AsyncClient(base_url=f"{url}/api/v1", trust_env=False, verify=False) as admin:
        root = (await admin.post("/keys", json={"name": "root", "role": "admin"})).json()
        admin.headers = {"authorization": f"Bearer {root['key']}", "content-type": "application/json"}
        made = (await admin.post("/keys", json={"name": "ana", "role": "operator"})).json()
        api = Api(url)
        feed, page = Feed(api), Session(author="ana", key=made["key"])
        topic = await feed.first(page, "/routes", every_s=0.05)
        assert topic.error is None
        assert topic.data is not None
        assert (await admin.request("DELETE", f"/keys/{made['key_id']}")).status_code == 200

        def is_over() -> bool:
            feed.want(page, "/routes", every_s=0.05)
            return topic.error is not None

        await until(is_over)
        assert topic.error is not None
        assert topic.error.status == 401
        assert topic.data is None
        assert (await feed.first(page, "/routes")).data is None  # nor does a page that is opened now
        with pytest.raises(ApiError) as refused:
            await api.post(page, "/apply", {"documents": []})
        assert refused.value.wants_key
        await feed.aclose()
