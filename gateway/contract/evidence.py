"""Names of the additive statistics in a minute's evidence hash (`keys.evidence`).

Every field is a sum, so that minutes, processes and gateways merge by adding. A field is
`kind|...|statistic`:

- `p|<version>|…` and `s|<version>|…`: a version in its role as primary or shadow
    `n` predictions asked for, `ok` answered with 2xx, `e:<code>` failed with that code,
    `us` sum of latencies of answered ones (µs), `h<i>` answered ones in latency bucket i (`latency`),
    `recorded` predictions whose output was recorded,
    `l` labels joined; classes: `right`, `c:<label>:<output>` confusion counts (rows of a batch count singly);
    numbers: `ae` sum of absolute errors, `se` sum of squared errors, `q4` sum of errors to the fourth;
    `la:<i>` labels that first came 2^i to 2^(i+1) s after their prediction (0: also sooner),
    `rows` scored rows; rewards: `rw`, `rw2`, `rwn`
    `o:<output>` recorded outputs: classes by their JSON text, numbers by their bin (`bins`); the first 64,
    and the rest as `o:(other)`. How many there are is beside it, as `o#|p|<version>`.
    `f:<column>:<bin>` values of an input column, of sampled requests to a primary (`bins`)
- `a|<primary>|<shadow>|…`: agreement of answers to the same request
    `rows`, `agree`; numbers also `d` sum and `d2` sum of squares of absolute differences
- `d|<primary>|<shadow>|…`: paired scores, one label for both
    `rows`, classes: `b` only the primary right, `c` only the shadow right;
    numbers: `d` sum and `d2` sum of squares of (absolute error of shadow - absolute error of primary)
- `x|<header>|<value>|` and one of the above: the same of the requests with this value of a header that the
    route slices by; without latencies, confusion counts, outputs and rewards
"""

PRIMARY = "p"
SHADOW = "s"
AGREEMENT = "a"
PAIRED = "d"
SLICE = "x"
OTHER_VALUES = "(other)"  # values of a header beyond the first `MOST_VALUES`
MOST_VALUES = 32  # of one header that one process counts apart
MAX_VALUE_LENGTH = 64
EVIDENCE_TTL_S = 8 * 86_400


def role_field(role: str, version: str, statistic: str) -> str:
    return f"{role}|{version}|{statistic}"


def pair_field(kind: str, primary: str, shadow: str, statistic: str) -> str:
    return f"{kind}|{primary}|{shadow}|{statistic}"
