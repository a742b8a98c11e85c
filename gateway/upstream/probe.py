"""Does a worker say that it is ready? One question over a connection of its own."""

import asyncio

PROBE_S = 1.0
_QUESTION = b"GET /v2/health/ready HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n"


async def answers(host: str, port: int) -> bool:
    """True when the worker answers its readiness address with 200 within `PROBE_S`."""
    try:
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_QUESTION)
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
    except (OSError, ValueError):  # TimeoutError is an OSError; ValueError: an endless first line
        return False
