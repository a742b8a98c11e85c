"""What somebody who has to answer for a model wants to see of it: a page out of values that the caller read.

Versions with their origin, decisions and approvals, who answered what share when, rollouts with verdicts,
overrides, incidents, and whether the audit is whole. Times are in ms; `clock` puts one into words. Nothing is
judged here. Called by `turnout audit report`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.core.page import Page, Section

SHARES = "Traffic shares over time"
Clock = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class VersionSaid:
    """One registered version; texts are empty where nothing is known. `by` registered it; `commit` is short,
    and says whether files had changed since."""

    version: str
    digest: str
    owner: str
    source: str
    commit: str
    run_id: str
    data_digest: str
    by: str
    at_ms: int
    state: str
    state_by: str
    state_reason: str
    sunset: str


@dataclass(frozen=True, slots=True)
class ApprovalSaid:
    version: str
    by: str
    role: str
    at_ms: int
    dossier: str
    note: str


@dataclass(frozen=True, slots=True)
class Live:
    """A form of the route, from `at_ms` on. `shares`: version -> percent of the split; empty = no route."""

    at_ms: int
    revision: int
    by: str
    reason: str
    shares: tuple[tuple[str, float], ...]
    shadows: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventSaid:
    at_ms: int
    step: int
    what: str
    by: str
    sentence: str
    verdicts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RolloutSaid:
    rollout_id: str
    baseline: str
    candidate: str
    phase: str
    sentence: str
    by: str
    reason: str
    started_ms: int
    events: tuple[EventSaid, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the audit; `forced`: what it overrode."""

    revision: int
    at_ms: int
    by: str
    reason: str
    forced: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """`live` is oldest first and begins with what was live at `since_ms`, if that is known; `chain` is what
    the verification of the audit said."""

    model: str
    since_ms: int
    until_ms: int
    asked_by: str
    versions: tuple[VersionSaid, ...]
    approvals: tuple[ApprovalSaid, ...]
    decisions: tuple[Entry, ...]
    live: tuple[Live, ...]
    rollouts: tuple[RolloutSaid, ...]
    overrides: tuple[Entry, ...]
    chain: tuple[str, ...]


def page_of(report: Report, clock: Clock) -> Page:
    return Page(
        f"Report on {report.model}",
        (
            f"From {clock(report.since_ms)} to {clock(report.until_ms)}, made for {report.asked_by}. "
            "Versions and approvals are those of now; the rest is what happened in this time.",
        ),
        (
            _versions(report, clock),
            _approvals(report, clock),
            _entries("Decisions about versions", report.decisions, clock),
            _shares(report, clock),
            _rollouts(report, clock),
            _entries("Overrides", report.overrides, clock, empty="Nothing was forced."),
            _incidents(report, clock),
            Section("Is the audit whole?", report.chain),
        ),
    )


def mean_shares(live: Sequence[Live], *, since_ms: int, until_ms: int) -> dict[str, float]:
    """Version -> percent of the time between, each moment weighed with its share; rules are left out.

    Sums to less than 100 where there was no route, or none is known.
    """
    total_ms = max(1, until_ms - since_ms)
    sums: dict[str, float] = {}
    ends_ms = [max(form.at_ms, since_ms) for form in live[1:]] + [until_ms] * bool(live)
    for form, ends in zip(live, ends_ms, strict=True):
        begins = max(form.at_ms, since_ms)
        for version, percent in form.shares:
            sums[version] = sums.get(version, 0.0) + percent * max(0, ends - begins) / total_ms
    return sums


def _versions(report: Report, clock: Clock) -> Section:
    rows = tuple(
        (
            one.version, _state(one), one.owner, one.digest[:12], one.source, one.commit, one.run_id,
            one.data_digest, f"{one.by}, {clock(one.at_ms)}",
        )
        for one in report.versions
    )  # fmt: skip
    columns = ("version", "state", "owner", "digest", "source", "commit", "run", "data", "registered by")
    return Section("Versions", columns=columns, rows=rows)


def _state(one: VersionSaid) -> str:
    by = f", by {one.state_by}" if one.state_by else ""
    ends = f", ends {one.sunset}" if one.sunset else ""
    reason = f" ({one.state_reason})" if one.state_reason else ""
    return f"{one.state}{by}{ends}{reason}"


def _approvals(report: Report, clock: Clock) -> Section:
    rows = tuple(
        (one.version, one.by, one.role, clock(one.at_ms), one.dossier, one.note) for one in report.approvals
    )
    columns = ("version", "by", "role", "when", "dossier (SHA-256)", "note")
    return Section("Approvals", columns=columns, rows=rows, empty="No version is approved.")


def _entries(title: str, entries: Sequence[Entry], clock: Clock, *, empty: str = "None.") -> Section:
    rows = tuple(
        (str(one.revision), clock(one.at_ms), one.by, one.reason, one.forced, ", ".join(one.fields))
        for one in entries
    )
    columns = ("revision", "when", "by", "reason", "overrode", "changed")
    return Section(title, columns=columns, rows=rows, empty=empty)


def _shares(report: Report, clock: Clock) -> Section:
    means = mean_shares(report.live, since_ms=report.since_ms, until_ms=report.until_ms)
    lines = tuple(
        f"Version {version}: {percent:.2f} % of the split, averaged over the time."
        for version, percent in sorted(means.items(), key=lambda item: -item[1])
    )
    rows = tuple(
        (
            clock(one.at_ms), str(one.revision), _percents(one.shares), " ".join(one.shadows),
            "; ".join(one.rules), one.by, one.reason,
        )
        for one in report.live
    )  # fmt: skip
    columns = ("from", "revision", "split", "shadows", "rules", "by", "reason")
    return Section(SHARES, lines, columns, rows, empty="There was no route.")


def _percents(shares: tuple[tuple[str, float], ...]) -> str:
    return " ".join(f"{version}={percent:.10g}" for version, percent in shares) or "no route"


def _rollouts(report: Report, clock: Clock) -> Section:
    rows = tuple(row for rollout in report.rollouts for row in _rollout_rows(rollout, clock))
    columns = ("rollout", "when", "what", "by", "why")
    return Section("Rollouts and verdicts", columns=columns, rows=rows, empty="There was none.")


def _rollout_rows(rollout: RolloutSaid, clock: Clock) -> Iterator[tuple[str, ...]]:
    reason = f" ({rollout.reason})" if rollout.reason else ""
    yield (
        rollout.rollout_id, clock(rollout.started_ms),
        f"{rollout.baseline} -> {rollout.candidate}: {rollout.phase}", rollout.by, rollout.sentence + reason,
    )  # fmt: skip
    for event in rollout.events:
        yield ("", clock(event.at_ms), event.what, event.by, event.sentence)
        if event.what != "succeeded":  # shares those of the last step
            yield from (("", "", outcome, "", sentence) for outcome, sentence in event.verdicts)


def _incidents(report: Report, clock: Clock) -> Section:
    """Rollouts that ended badly, and every FAIL of a gate."""
    rows = tuple(row for rollout in report.rollouts for row in _incident_rows(rollout, clock))
    columns = ("when", "rollout", "version", "what", "why")
    return Section("Incidents", columns=columns, rows=rows, empty="No rollout failed or was taken back.")


def _incident_rows(rollout: RolloutSaid, clock: Clock) -> Iterator[tuple[str, ...]]:
    for event in rollout.events:
        named = (clock(event.at_ms), rollout.rollout_id, rollout.candidate)
        if event.what in ("failed", "rolled_back", "frozen", "aborted"):
            yield (*named, event.what.replace("_", " "), event.sentence)
        if event.what in ("failed", "rolled_back", "frozen"):
            yield from ((*named, "FAIL", text) for outcome, text in event.verdicts if outcome == "FAIL")
