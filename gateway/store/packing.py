"""Lists of strings and numbers as one argument for a script: MessagePack, as far as Redis' Lua reads it.

Its `cmsgpack` knows the original raw strings but not the later binary type, with which libraries write
Python's bytes. Sending one long argument instead of thousands of short ones is several times cheaper for a
gateway. Source: msgpack/msgpack, spec.md, formats `str`, `array` and `float`.
"""

import struct
from collections.abc import Iterable

_SHORT = [bytes((0xA0 | size,)) if size < 32 else bytes((0xD9, size)) for size in range(256)]


def packed(items: Iterable[bytes | int | float]) -> bytes:
    """One MessagePack array."""
    parts: list[bytes] = []
    count = 0
    for item in items:
        count += 1
        if isinstance(item, bytes):
            size = len(item)
            parts.append(_SHORT[size] if size < 256 else struct.pack(">BI", 0xDB, size))
            parts.append(item)
        else:
            parts.append(struct.pack(">Bd", 0xCB, item))
    return struct.pack(">BI", 0xDD, count) + b"".join(parts)
