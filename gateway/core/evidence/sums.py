"""Evidence sums, read once: from the named fields of evidence hashes to the sums of each version and pair.

The names are those of `contract.evidence`. Minutes are added here; which minutes is the caller's choice.
Statistics that this release does not know are kept and not looked at, so that an older reader survives a
newer writer. Called by `core.evidence.compare` and `core.evidence.scores`; it computes nothing but sums.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.contract.evidence import AGREEMENT, PAIRED, PRIMARY, SHADOW, SLICE
from gateway.contract.latency import BUCKETS

_DECODER = json.JSONDecoder()
_SIGNED = frozenset({"d", "rw"})  # sums that may be negative: differences of errors, rewards
_OF_SLICE = f"{SLICE}|"
_OUTPUT = "o:"
_FEATURE = "f:"
LARGEST = 1e150  # its square is still a number; no sum of real labels comes near


@dataclass(frozen=True, slots=True)
class Sums:
    """Additive statistics by name; what was never counted is 0, and so is a count that came out negative."""

    values: Mapping[str, float]

    def __getitem__(self, statistic: str) -> float:
        value = self.values.get(statistic, 0.0)
        return value if statistic in _SIGNED else max(0.0, value)

    def __contains__(self, statistic: str) -> bool:
        return statistic in self.values

    def __add__(self, other: "Sums") -> "Sums":
        return _added((self.values, other.values))

    def errors(self) -> dict[str, float]:
        """Failed predictions by error code, most frequent first."""
        found = {
            name[2:]: value for name, value in self.values.items() if name.startswith("e:") and value > 0
        }
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def label_ages(self) -> dict[int, float]:
        """Labels by the power of two of the seconds after which they came."""
        found = {name[3:]: value for name, value in self.values.items() if name.startswith("la:")}
        return {
            int(power): value for power, value in sorted(found.items()) if power.isdecimal() and value > 0
        }

    def latency_buckets(self) -> tuple[float, ...]:
        return tuple(self[f"h{index}"] for index in range(BUCKETS))

    def confusion(self) -> dict[tuple[str, str], float]:
        """Rows by (label, output), both as JSON text."""
        return {
            _label_and_output(name[2:]): value
            for name, value in self.values.items()
            if name.startswith("c:") and value > 0
        }


NOTHING = Sums({})


@dataclass(frozen=True, slots=True)
class Table:
    """All sums of one model: by (role, version), and by (primary, shadow) for agreement and paired scores.

    `slices` are tables of parts of the traffic by (header, value); `outputs` are histograms of what a version
    answered, by (role, version), `features` of what came in, by (version, input column).
    """

    roles: Mapping[tuple[str, str], Sums]
    agreement: Mapping[tuple[str, str], Sums]
    paired: Mapping[tuple[str, str], Sums]
    slices: Mapping[tuple[str, str], "Table"] = field(default_factory=dict)
    outputs: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    features: Mapping[tuple[str, int], Mapping[str, float]] = field(default_factory=dict)

    def both_roles(self, version: str) -> Sums:
        return self.roles.get((PRIMARY, version), NOTHING) + self.roles.get((SHADOW, version), NOTHING)


def read(evidence: Mapping[int, Mapping[str, float]]) -> Table:
    """Add all minutes and sort the fields by whom they are about."""
    total: dict[str, float] = {}
    slices: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for name, value in _added(evidence.values()).values.items():
        if not name.startswith(_OF_SLICE):
            total[name] = value
            continue
        header, _, rest = name[len(_OF_SLICE) :].partition("|")
        of, _, rest = rest.partition("|")
        slices[header, of][rest] = value
    return replace(_table(total), slices={key: _table(fields) for key, fields in slices.items()})


def _table(total: Mapping[str, float]) -> Table:
    kinds: dict[str, defaultdict[tuple[str, str], dict[str, float]]] = {
        kind: defaultdict(dict) for kind in (PRIMARY, SHADOW, AGREEMENT, PAIRED)
    }
    outputs: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    features: defaultdict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for name, value in total.items():
        kind, _, rest = name.partition("|")
        if kind in (PRIMARY, SHADOW):
            version, _, statistic = rest.partition("|")
            if statistic.startswith(_FEATURE):
                column, _, bin_ = statistic[len(_FEATURE) :].partition(":")
                features[version, int(column)][bin_] = max(0.0, value)
            elif statistic.startswith(_OUTPUT):
                outputs[kind, version][statistic[len(_OUTPUT) :]] = max(0.0, value)
            else:
                kinds[kind][kind, version][statistic] = value
        elif kind in (AGREEMENT, PAIRED):
            primary, _, rest = rest.partition("|")
            shadow, _, statistic = rest.partition("|")
            kinds[kind][primary, shadow][statistic] = value
    sums = {kind: {about: Sums(found) for about, found in table.items()} for kind, table in kinds.items()}
    return Table(
        sums[PRIMARY] | sums[SHADOW], sums[AGREEMENT], sums[PAIRED], outputs=outputs, features=features
    )


def _added(parts: Iterable[Mapping[str, float]]) -> Sums:
    total: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for name, value in part.items():
            if math.isfinite(value) and abs(value) <= LARGEST:
                total[name] += value
    return Sums(dict(total))


def _label_and_output(text: str) -> tuple[str, str]:
    """`<label>:<output>`; a label that is a JSON string may hold colons itself."""
    if text.startswith('"'):
        try:
            _, end = _DECODER.raw_decode(text)
        except ValueError:
            return text, ""
        return text[:end], text[end + 1 :]
    label, _, output = text.partition(":")
    return label, output
