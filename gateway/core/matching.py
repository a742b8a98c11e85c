"""Does a request's head satisfy the conditions of a rule or shadow?

Regular expressions are RE2's: matched in linear time, whatever a client sends. They match the whole value.
"""

from collections.abc import Callable, Iterable, Mapping

import re2

from gateway.contract.route import Match

Headers = Mapping[bytes, bytes]  # lower-case names
Test = Callable[[Headers], bool]


def _compile_one(match: Match) -> Test:
    name = match.header.encode()
    if match.exact is not None:
        exact = match.exact.encode()
        return lambda headers: headers.get(name) == exact
    if match.prefix is not None:
        prefix = match.prefix.encode()
        return lambda headers: headers.get(name, b"").startswith(prefix)
    if match.regex is not None:
        pattern = re2.compile(match.regex.encode())
        return lambda headers: name in headers and pattern.fullmatch(headers[name]) is not None
    wanted = bool(match.present)
    return lambda headers: (name in headers) == wanted


def compile_matches(matches: Iterable[Match]) -> Test:
    """True when every condition holds; no conditions hold always."""
    tests = tuple(_compile_one(match) for match in matches)
    if len(tests) == 1:
        return tests[0]
    return lambda headers: all(test(headers) for test in tests)
