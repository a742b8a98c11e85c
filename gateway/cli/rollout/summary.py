"""What a deployment came to, as a page for a pipeline's summary: versions, who, verdicts, events.

Pure: the answers of the control API come as values. Called by `turnout deploy --summary`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.words import commit_words, utc
from gateway.contract.errors import TurnoutError
from gateway.core.page import Page, Section


def deployed_page(
    model: str,
    version: str,
    words: str,
    *,
    rollout: Mapping[str, Any] | None,
    versions: Sequence[Mapping[str, Any]],
) -> Page:
    """`versions`: the candidate and, if it is known, the baseline."""
    sections = [_versions(versions)] if versions else []
    title = f"{model} {version}"
    if rollout is None:
        return Page(f"{title}: {words}", (), tuple(sections))
    reason = f": {rollout['reason']}" if rollout["reason"] else ""
    lines = (
        rollout["sentence"] or f"Step {rollout['step'] + 1} of {len(rollout['steps'])}.",
        f"Rollout {rollout['rollout_id']}, {rollout['baseline']} -> {rollout['candidate']}, started "
        f"{utc(rollout['started_ms'])} by {rollout['author']}{reason}",
    )
    return Page(f"{title}: {words}", lines, (*sections, _verdicts(rollout), _events(rollout)))


def failed_page(model: str, version: str, error: TurnoutError) -> Page:
    """Of a deployment that was refused, or did not come to its end."""
    problems = [str(item) for name in ("problems", "refusals") for item in error.data.get(name, ())]
    lines = (error.message, *(problem for problem in problems if problem not in error.message))
    return Page(f"{model} {version}: {error.code.replace('_', ' ')}", lines, ())


def _versions(versions: Sequence[Mapping[str, Any]]) -> Section:
    rows = tuple(
        (
            item["version"], item["digest"][:12], item["owner"], commit_words(item["lineage"]),
            item["lineage"]["run_id"], item["source"], f"{item['author']}, {utc(item['at_ms'])}",
        )
        for item in versions
    )  # fmt: skip
    columns = ("version", "digest", "owner", "commit", "run", "source", "registered by")
    return Section("Versions", columns=columns, rows=rows)


def _verdicts(rollout: Mapping[str, Any]) -> Section:
    return Section(
        "Verdicts",
        columns=("step", "verdict", "what was seen"),
        rows=tuple(_verdict_rows(rollout)),
        empty="No gate has said anything.",
    )


def _verdict_rows(rollout: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Of each event that verdicts led to, then what its gates say now, if it goes on."""
    for event in rollout["events"]:
        if event["what"] != "succeeded":  # shares those of the last step
            for verdict in event["verdicts"]:
                yield (str(event["step"] + 1), verdict["outcome"], verdict["sentence"])
    progress = rollout["progress"]
    if not rollout["is_over"] and progress is not None and progress["step"] == rollout["step"]:
        for verdict in progress["verdicts"]:
            yield (str(rollout["step"] + 1), verdict["outcome"], verdict["sentence"])


def _events(rollout: Mapping[str, Any]) -> Section:
    rows = tuple(
        (utc(event["at_ms"]), event["what"].replace("_", " "), event["author"], event["sentence"])
        for event in rollout["events"]
    )
    return Section("Events", columns=("when", "what", "by", "why"), rows=rows)
