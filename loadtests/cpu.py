"""CPU time of a process with all its children, and of the whole machine, from Linux' /proc.

`user` and `system` of `/proc/PID/stat` are kept to a hundredth of a second (proc(5)); measure for seconds.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class CpuTime:
    user_s: float = 0.0
    system_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def __add__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.user_s + other.user_s, self.system_s + other.system_s)

    def __sub__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.user_s - other.user_s, self.system_s - other.system_s)


def parse_stat(text: str) -> tuple[int, CpuTime]:
    """Parent and CPU time, with that of children already waited for; the name may hold any character."""
    fields = text[text.rindex(")") + 2 :].split()
    user, system, user_of_children, system_of_children = (int(field) for field in fields[11:15])
    return int(fields[1]), CpuTime(
        (user + user_of_children) / _TICKS_PER_S, (system + system_of_children) / _TICKS_PER_S
    )


def tree_time(root: int) -> CpuTime:
    """CPU time of a process and its living descendants, and of what they have waited for."""
    processes = dict(_processes())
    total, generation = CpuTime(), {root}
    while generation:
        total = sum((processes[pid][1] for pid in generation if pid in processes), total)
        generation = {pid for pid, (parent, _) in processes.items() if parent in generation}
    return total


def descendants(root: int) -> set[int]:
    """A process and its living descendants."""
    processes = dict(_processes())
    found, generation = set[int](), {root}
    while generation:
        found |= generation
        generation = {pid for pid, (parent, _) in processes.items() if parent in generation}
    return found


def busy_time() -> float:
    """Seconds of CPU that everything on this machine has used, all cores together."""
    line = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq = (int(field) for field in line[:7])
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def _processes() -> Iterable[tuple[int, tuple[int, CpuTime]]]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), parse_stat((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
