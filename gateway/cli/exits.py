"""Exit codes: 0 done, 1 failed, 2 wrong use or drift, 3 refused, 4 conflict, 5 not reachable."""

from gateway.contract.errors import TurnoutError

_CODES = {
    "bad_request": 2,
    "invalid_json": 2,
    "invalid_input": 2,
    "invalid_document": 2,
    "too_large": 2,
    "unsupported_media_type": 2,
    "refused": 3,
    "unauthenticated": 3,
    "forbidden": 3,
    "conflict": 4,
    "store_away": 5,
    "unreachable": 5,
}


def exit_code(error: TurnoutError) -> int:
    return _CODES.get(error.code, 1)
