"""What an approver sees, and its hash: an approval holds for exactly this.

A dossier is the version's immutable document, its tags, the plan by which it shall go live (None: by hand),
and what evidence said: which version is better, by which metric. Counts are left out, since a label more is
no new decision; a verdict that turns is. Called by the control API when a version is shown for approval, when
it is approved, and when `core.policy` asks whether an approval still holds.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from gateway.contract.plan import Plan
from gateway.contract.version import Version
from gateway.core.evidence.verdict import Verdict


def dossier(version: Version, plan: Plan | None, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """As it is shown; `verdicts` are those that name this version."""
    return {
        "version": version.model_dump(mode="json"),
        "plan": None if plan is None else plan.model_dump(mode="json", exclude_defaults=True),
        "evidence": sorted(
            (
                {
                    "baseline": verdict.baseline,
                    "candidate": verdict.candidate,
                    "metric": verdict.metric,
                    "better": verdict.better,
                }
                for verdict in verdicts
                if version.version in (verdict.baseline, verdict.candidate)
            ),
            key=lambda said: (said["baseline"], said["candidate"]),
        ),
    }


def dossier_hash(seen: dict[str, Any]) -> str:
    """SHA-256 of its canonical JSON, hex."""
    text = json.dumps(seen, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
