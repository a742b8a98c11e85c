"""May this head of a request be believed? What two programs could read in two ways is refused.

Pure rules for heads that come from the parser; `plain` takes only such as leave no doubt.

Must not know: bodies, connections. Asked by `reading`.
"""

from gateway.wire.limits import Limits

Fields = dict[bytes, bytes]  # by lower-case name; equal ones joined as a list
Refusal = tuple[str, str]  # code and sentence

# Headers of which a second one is an attack or a mistake, never a list; and all of `turnout-`.
_SINGLE = frozenset({b"host", b"content-type", b"authorization", b"inference-header-content-length"})


def is_single(name: bytes) -> bool:
    return name in _SINGLE or name.startswith(b"turnout-")


def excess(url: bytes, fields: Fields, *, lines: int, limits: Limits) -> Refusal | None:
    """`lines`: so many headers were sent."""
    if lines > limits.headers:
        return "head_too_large", f"More than {limits.headers} headers were sent."
    size = len(url) + sum(len(name) + len(value) + 4 for name, value in fields.items())
    return too_large(limits) if size > limits.head_bytes else None


def too_large(limits: Limits) -> Refusal:
    return "head_too_large", f"The head is larger than {limits.head_bytes} bytes."


def doubt(fields: Fields, *, is_1_1: bool, doubled: bytes) -> Refusal | None:
    """`is_1_1`: of HTTP/1.1, not of 1.0; `doubled`: a header that must be single, and was given twice."""
    problem = ""
    encoding = fields.get(b"transfer-encoding")
    if encoding is not None and not is_1_1:
        problem = "Transfer-Encoding needs HTTP/1.1."
    elif encoding is not None and (encoding.lower() != b"chunked" or b"content-length" in fields):
        problem = "Send either a Content-Length or `Transfer-Encoding: chunked`, nothing else."
    elif b"host" not in fields and is_1_1:
        problem = "An HTTP/1.1 request needs a Host header."
    elif doubled:
        problem = f"The header {doubled.decode('latin-1')} is given twice."
    return ("bad_request", problem) if problem else None
