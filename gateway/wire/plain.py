"""Is this, in one piece, a whole request of the usual kind? Then it need not go through the parser.

One regular expression and one dictionary instead of a callback for every header. Clients send the same header
names again and again, so for names that came before the expression is made of them (`Template`), which halves
the time. The shapes leave nothing that two programs could read in two ways; what does not fit, down to a tab
or a second space, is left to the parser, and tests hold all three to the same reading. Called by `protocol`
for every piece of bytes.
"""

import re

from gateway.wire.limits import Limits
from gateway.wire.room import FREE_BYTES

Plain = tuple[bytes, dict[bytes, bytes], bytes]  # path, headers by lower-case name, body

_POST = re.compile(rb"POST ([!-~]+) HTTP/1\.1\r\n((?:[A-Za-z0-9_-]+: [!-~](?:[ -~]*[!-~])?\r\n)++)\r\n")
_HEADER = re.compile(rb"([^:]+): ([^\r]+)\r\n")
_WORDS = rb": ([!-~]++(?: [!-~]++)*+)\r\n"  # a value, and the end of its line
_LENGTH_DIGITS = 15  # Python refuses to read numbers of some thousands of digits, with an exception
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"connection"})
MOST_TEMPLATES = 256  # each takes a third of a millisecond to make, so nobody can have them made for ever


class Template:
    """Reads heads with exactly these header names, spelled and ordered like this."""

    __slots__ = ("length_at", "match", "names")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        """`names`: as they were sent in a head that `read_plain` took."""
        lines = b"".join(re.escape(name) + _WORDS for name in names)
        self.match = re.compile(rb"POST ([!-~]++) HTTP/1\.1\r\n" + lines + rb"\r\n").match
        self.names = tuple(name.lower() for name in names)
        self.length_at = self.names.index(b"content-length") + 1

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


class Templates:
    """The templates of one server: made when the same names come for the second time."""

    def __init__(self) -> None:
        self.known: dict[tuple[bytes, ...], Template | None] = {}

    def of(self, names: tuple[bytes, ...]) -> Template | None:
        if names in self.known:
            template = self.known[names]
            if template is None:
                template = self.known[names] = Template(names)
            return template
        if len(self.known) < MOST_TEMPLATES:
            self.known[names] = None
        return None


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
