"""What a classifier took for what: labels against answers, counted.

Called by the control API for `turnout compare --confusion` and the console. It judges nothing; per-class
scores with their intervals are in `core.evidence.scores`.
"""

from dataclasses import dataclass

from gateway.core.evidence.scores import ROLE_NAMES
from gateway.core.evidence.sums import Table

MAX_CLASSES = 30  # in a matrix: those that occur most; more could not be read


@dataclass(frozen=True, slots=True)
class Confusion:
    """`rows[i][j]`: how often label `classes[i]` was answered by `classes[j]`, both JSON text; `left_out`:
    labelled rows that are about other classes."""

    version: str
    role: str
    classes: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    left_out: int


def confusions(table: Table) -> tuple[Confusion, ...]:
    """Of every version in every role that has labels of classes."""
    found = []
    for (role, version), sums in sorted(table.roles.items()):
        if (counts := sums.confusion()) and "ae" not in sums:
            found.append(_matrix(version, ROLE_NAMES[role], counts))
    return tuple(found)


def _matrix(version: str, role: str, counts: dict[tuple[str, str], float]) -> Confusion:
    often: dict[str, float] = {}
    for (label, output), count in counts.items():
        for name in {label, output}:
            often[name] = often.get(name, 0.0) + count
    frequent = sorted(often, key=lambda name: (-often[name], name))[:MAX_CLASSES]
    classes = tuple(sorted(frequent, key=lambda name: (len(name), name)))
    rows = tuple(tuple(round(counts.get((label, output), 0.0)) for output in classes) for label in classes)
    shown = sum(map(sum, rows))
    return Confusion(version, role, classes, rows, max(0, round(sum(counts.values())) - shown))
