"""A thousand clients that send too slowly: nothing, half a head, or a body byte by byte.

Run by the benchmark in a process of its own, so that what it does to the others is the server's doing:
`python -m loadtests.dawdle PORT PATH`. Prints, as JSON, after how many seconds the first and the last
connection was ended by the server; gives up after a minute.
"""

import asyncio
import contextlib
import json
import sys
import time

import uvloop

CLIENTS = 1000
OPENED_WITHIN_S = 2.0
GIVES_UP_S = 60.0


def beginnings(path: str) -> list[bytes]:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    return [b"", head, head + b"Content-Length: 100000\r\n\r\n"]


async def dawdle(port: int, beginning: bytes, *, after_s: float) -> float:
    """Seconds until the server ended a connection that sends a byte a second after its beginning."""
    await asyncio.sleep(after_s)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(beginning)
    reading = asyncio.ensure_future(reader.read())
    while not reading.done():
        await asyncio.wait([reading], timeout=1)
        if beginning and not reading.done():
            writer.write(b"x")
    with contextlib.suppress(ConnectionError):
        reading.result()
    writer.close()
    return time.perf_counter() - began


async def main(port: int, path: str) -> None:
    kinds = beginnings(path)
    async with asyncio.timeout(GIVES_UP_S):
        ended_s = await asyncio.gather(
            *(
                dawdle(port, kinds[number % len(kinds)], after_s=OPENED_WITHIN_S * number / CLIENTS)
                for number in range(CLIENTS)
            )
        )
    print(json.dumps({"first_s": min(ended_s), "last_s": max(ended_s)}))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
