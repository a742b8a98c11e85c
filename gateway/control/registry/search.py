"""Which versions does a search mean? Words separated by blanks, all of which must hold.

`tag:NAME` or `tag:NAME=VALUE`, `metric:NAME>0.9` (also `<`, `>=`, `<=`, `=`), `owner:ANA`, `digest:3fa9`; any
other word must occur in model, version, owner, source or notes. Pure; called by the handler that lists
models.
"""

import operator
import re
from collections.abc import Callable

from gateway.contract.errors import CallerError
from gateway.contract.version import Version

MAX_WORDS = 8
_METRIC = re.compile(r"^metric:(?P<name>.+?)(?P<how>>=|<=|>|<|=)(?P<value>[^<>=]+)$")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "=": operator.eq,
}  # fmt: skip

Test = Callable[[Version], bool]


def parse_search(text: str) -> Test:
    words = text.split()
    if len(words) > MAX_WORDS:
        raise CallerError("bad_request", f"a search has at most {MAX_WORDS} words")
    tests = [_test(word) for word in words]
    return lambda version: all(test(version) for test in tests)


def _test(word: str) -> Test:
    kind, _, rest = word.partition(":")
    match kind:
        case "tag" if rest:
            return _tag(rest)
        case "metric" if rest:
            return _metric(word)
        case "owner" if rest:
            return lambda version: version.owner == rest
        case "digest" if rest:
            return lambda version: version.digest.startswith(rest.lower())
    wanted = word.lower()
    return lambda version: any(
        wanted in text.lower()
        for text in (version.model, version.version, version.owner, version.source, version.notes)
    )


def _tag(rest: str) -> Test:
    name, equals, value = rest.partition("=")
    if not equals:
        return lambda version: name in version.tags
    return lambda version: version.tags.get(name) == value


def _metric(word: str) -> Test:
    found = _METRIC.match(word)
    try:
        limit = float(found["value"]) if found else float("nan")
    except ValueError:
        limit = float("nan")
    if found is None or limit != limit:
        raise CallerError("bad_request", f"{word!r} is not metric:NAME>NUMBER (or <, >=, <=, =)")
    name, compare = found["name"], _COMPARE[found["how"]]
    return lambda version: name in version.metrics and compare(version.metrics[name], limit)
