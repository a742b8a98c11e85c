"""Ending tasks for certain.

Until Python 3.12 `asyncio.wait_for`, which redis-py uses inside, can swallow a cancellation that arrives just
as its awaited work completes (cpython#86296): a task cancelled once may live on. So it is cancelled until it
has ended.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 0.1


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel every task and wait until all have ended; their exceptions are not raised."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_S)
