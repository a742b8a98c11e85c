"""Everything that can go wrong, by whose fault it is, with one stable code each.

`STATUS_OF` is the only place where a code becomes an HTTP status. Bugs are not in here: an exception that
is not a `TurnoutError` is a bug and is answered as 500 `internal` without details.
"""

from typing import Any

STATUS_OF: dict[str, int] = {
    # the caller's fault
    "bad_request": 400,
    "invalid_json": 400,
    "invalid_input": 400,
    "invalid_document": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_model": 404,
    "unknown_version": 404,
    "unknown_prediction": 404,
    "no_route": 404,
    "method_not_allowed": 405,
    "slow_client": 408,
    "expired": 410,
    "retired": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "head_too_large": 431,
    "over_limit": 429,
    # a conflict of state
    "conflict": 409,
    "refused": 403,
    # the upstream's fault
    "bad_upstream": 502,
    "no_workers": 503,
    "no_table": 503,
    "not_ready": 503,
    "overloaded": 503,
    "draining": 503,
    "store_away": 503,
    "deadline": 504,
    # ours
    "internal": 500,
}


def is_versions_fault(code: str) -> bool:
    """Whether an outcome speaks against the version that was asked: neither the caller's doing, nor a copy
    that was never sent. Codes that are not known here came from a worker."""
    return code not in ("client_gone", "dropped") and STATUS_OF.get(code, 502) >= 500


class TurnoutError(Exception):
    """An error that a person should read: a stable `code`, a sentence that says what to do, and its data."""

    def __init__(self, code: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    @property
    def status(self) -> int:
        return STATUS_OF[self.code]


class CallerError(TurnoutError):
    """The request is wrong; sending it again unchanged gives the same answer."""


class UpstreamError(TurnoutError):
    """A worker or Redis failed; the same request may succeed later."""


class ConflictError(TurnoutError):
    """Somebody else was faster: `data` says what changed and who changed it."""


class FencedError(ConflictError):
    """A controller whose lease went to another one while it was away; it must not write any more."""

    def __init__(self, *, holder: str, fence: int) -> None:
        super().__init__(
            "conflict",
            f"{holder or 'nobody'} leads the rollouts now (fence {fence})",
            holder=holder,
            fence=fence,
        )
