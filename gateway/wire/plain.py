"""Is this, in one piece, a whole request of the usual kind? Then it need not go through the parser.

One regular expression and one dictionary instead of a callback for every header. Clients send the same heads
again and again, so for what came before expressions are made of it: of the header names (`Shape`), which
halves the time, and of the whole head but for the values that differ from request to request (`Head`), which
makes it a quarter. The forms leave nothing that two programs could read in two ways; what does not fit, down
to a tab or a second space, is left to the parser, and tests hold all four to the same reading. Called by
`protocol` for every piece of bytes.
"""

import re
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gateway.wire.limits import Limits
from gateway.wire.room import FREE_BYTES

Plain = tuple[bytes, dict[bytes, bytes], bytes]  # path, headers by lower-case name, body
Key = tuple[bytes, ...]
Made = TypeVar("Made")

_POST = re.compile(rb"POST ([!-~]+) HTTP/1\.1\r\n((?:[A-Za-z0-9_-]+: [!-~](?:[ -~]*[!-~])?\r\n)++)\r\n")
_HEADER = re.compile(rb"([^:]+): ([^\r]+)\r\n")
_WORDS = rb": ([!-~]++(?: [!-~]++)*+)\r\n"  # a value, and the end of its line
_LENGTH_DIGITS = 15  # Python refuses to read numbers of some thousands of digits, with an exception
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"connection"})
_LENGTH = b"content-length"
_UNIT = b"turnout-unit"
# Headers whose values differ from request to request; the others of a client are usually always the same.
_VARIED = frozenset(
    {
        _LENGTH, _UNIT, b"turnout-prediction-id", b"turnout-attempt", b"traceparent", b"tracestate",
        b"x-request-id",
    }
)  # fmt: skip
_LINE_OF = dict.fromkeys(_VARIED, rb": ([!-~]++)\r\n") | {_LENGTH: rb": ([0-9]{1,15}+)\r\n"}
MOST_KNOWN = 256  # expressions of each kind, and keys that came once
MOST_BYTES = 1024  # of what one is made of, which takes a microsecond a byte
QUESTIONS = 16  # that pay for one
LOOK_AGAIN = 8  # heads that a connection's `Head` did not read, until another one is looked for


class Reader(Protocol):
    def read(self, data: bytes, limits: Limits) -> Plain | None: ...


class Shape:
    """Reads heads with exactly these header names, spelled and ordered like this."""

    __slots__ = ("length_at", "match", "names", "spelled")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        """`names`: as they were sent in a head that `read_plain` took."""
        lines = b"".join(re.escape(name) + _WORDS for name in names)
        self.match = re.compile(rb"POST ([!-~]++) HTTP/1\.1\r\n" + lines + rb"\r\n").match
        self.spelled = names
        self.names = tuple(name.lower() for name in names)
        self.length_at = self.names.index(_LENGTH) + 1

    def read(self, data: bytes, limits: Limits) -> Plain | None:
        found = self.match(data)
        if found is None:
            return None
        groups = found.groups()
        end = found.end()
        length = groups[self.length_at]
        if len(length) > _LENGTH_DIGITS or not length.isdigit() or int(length) != len(data) - end:
            return None
        if end > limits.head_bytes or len(data) > limits.body_bytes:
            return None
        return groups[0], dict(zip(self.names, groups[1:], strict=True)), data[end:]


class Head:
    """Reads heads of one shape with the same path and values, but for those of `_VARIED`."""

    __slots__ = ("fields", "length_at", "match", "most_bytes", "others", "path", "unit_at")

    def __init__(self, shape: Shape, path: bytes, fields: dict[bytes, bytes], limits: Limits) -> None:
        """`path`, `fields`: of a head that `shape` read."""
        lines = b"".join(
            re.escape(spelled) + _LINE_OF.get(name, b": " + re.escape(fields[name]) + rb"\r\n")
            for name, spelled in zip(shape.names, shape.spelled, strict=True)
        )
        self.match = re.compile(b"POST " + re.escape(path) + rb" HTTP/1\.1\r\n" + lines + rb"\r\n").match
        self.path = path
        self.fields = fields
        groups = {name: at for at, name in enumerate(filter(_VARIED.__contains__, shape.names), 1)}
        self.length_at = groups.pop(_LENGTH)
        self.unit_at = groups.pop(_UNIT, 0)
        self.others = tuple((at, name) for name, at in groups.items())
        self.most_bytes = min(limits.head_bytes, limits.body_bytes, FREE_BYTES)

    def read(self, data: bytes, limits: Limits) -> Plain | None:
        found = self.match(data)
        if found is None:
            return None
        end = found.end()
        fields = self.fields.copy()
        if self.unit_at:
            fields[_UNIT] = found[self.unit_at]
        length = fields[_LENGTH] = found[self.length_at]
        if int(length) != len(data) - end or len(data) > self.most_bytes:
            return None
        for at, name in self.others:
            fields[name] = found[at]
        return self.path, fields, data[end:]


class Learnt(Generic[Made]):
    """Expressions, each made when its key comes for the second time.

    What came once is forgotten when it has become too much, and the oldest expression gives way to a new one,
    so that heads which do not come again keep nobody else's out. Every question earns a part of an
    expression, so that nobody can have them made for ever.
    """

    def __init__(self) -> None:
        self.made: dict[Key, Made] = {}
        self.once: set[Key] = set()
        self.earned = MOST_KNOWN * QUESTIONS

    def of(self, key: Key, make: Callable[[], Made]) -> Made | None:
        made = self.made.get(key)
        if made is not None:
            return made
        self.earned += 1
        if key not in self.once:
            if sum(map(len, key)) <= MOST_BYTES:
                if len(self.once) >= MOST_KNOWN:
                    self.once.clear()
                self.once.add(key)
            return None
        if self.earned < QUESTIONS:
            return None
        self.earned = min(self.earned, MOST_KNOWN * QUESTIONS) - QUESTIONS
        self.once.discard(key)
        if len(self.made) >= MOST_KNOWN:
            del self.made[next(iter(self.made))]
        made = self.made[key] = make()
        return made


class Heads:
    """What one server has seen twice; asked when a connection's own reader did not fit."""

    def __init__(self) -> None:
        self.shapes: Learnt[Shape] = Learnt()
        self.heads: Learnt[Head] = Learnt()

    def shape(self, names: tuple[bytes, ...]) -> Shape | None:
        """`names` as they were sent."""
        return self.shapes.of(names, lambda: Shape(names))

    def head(self, shape: Shape, plain: Plain, limits: Limits) -> Head | None:
        """`plain` is what `shape` read."""
        path, fields, _ = plain
        constant = (value for name, value in fields.items() if name not in _VARIED)
        key = (path, *shape.spelled, *constant)
        return self.heads.of(key, lambda: Head(shape, path, fields, limits))


def read_plain(data: bytes, limits: Limits) -> tuple[Plain, tuple[bytes, ...]] | None:
    """The request, and its header names as they were sent; None = not as plain as that."""
    found = _POST.match(data)
    if found is None:
        return None
    pairs = _HEADER.findall(found[2])
    fields = {name.lower(): value for name, value in pairs}
    end = found.end()
    length = fields.get(b"content-length", b"")
    if (
        len(fields) != len(pairs)
        or not length.isdigit()
        or len(length) > _LENGTH_DIGITS
        or int(length) != len(data) - end
        or not _UNUSUAL.isdisjoint(fields)
        or b"host" not in fields
        or len(pairs) > limits.headers
        or end > limits.head_bytes
        or len(data) > limits.body_bytes
        or len(data) > FREE_BYTES
    ):
        return None
    return (found[1], fields, data[end:]), tuple(name for name, _ in pairs)
