"""Exit codes, the same for every command: `MEANINGS` says them in words."""

from gateway.contract.errors import TurnoutError

MEANINGS = {
    0: "done",
    1: "failed, or something is wrong",
    2: "wrong use, or drift (`turnout diff`)",
    3: "refused: policy, permission, state of the pools",
    4: "conflict: somebody else was faster",
    5: "not reachable: control, or Redis behind it",
    130: "stopped by Ctrl-C",
}

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
