"""Is this, in one piece, a whole request of the usual kind? Then it need not go through the parser.

One regular expression and one dictionary instead of a callback for every header. The shape leaves nothing
that two programs could read in two ways; what does not fit, down to a tab or a second space, is left to the
parser, and a test holds both to the same reading. Pure; called by `protocol` for every piece of bytes.
"""

import re

from gateway.wire.limits import Limits
from gateway.wire.room import FREE_BYTES

_POST = re.compile(rb"POST ([!-~]+) HTTP/1\.1\r\n((?:[A-Za-z0-9_-]+: [!-~](?:[ -~]*[!-~])?\r\n)++)\r\n")
_HEADER = re.compile(rb"([^:]+): ([^\r]+)\r\n")
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"connection"})


def read_plain(data: bytes, limits: Limits) -> tuple[bytes, dict[bytes, bytes], bytes] | None:
    """Path, headers by lower-case name, body; None = not as plain as that."""
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
        or int(length) != len(data) - end
        or not _UNUSUAL.isdisjoint(fields)
        or b"host" not in fields
        or len(pairs) > limits.headers
        or end > limits.head_bytes
        or len(data) > limits.body_bytes
        or len(data) > FREE_BYTES
    ):
        return None
    return found[1], fields, data[end:]
