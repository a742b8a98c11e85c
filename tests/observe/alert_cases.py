"""For each alert: series with which it must fire, and the same with a value that must not make it fire.

A series' values are in promtool's notation, one a minute: `0+5x20` begins at 0 and grows by 5, twenty times.
`digits`, `gw` and `ctl` stand for names that each alert has for itself, so that all are tested at once.
"""

from dataclasses import dataclass, field

Series = dict[str, str]
V = 'model="digits", version="2"'
P = f'{V}, role="primary"'
GATEWAY, CONTROL = 'instance="gw:8082", job="turnout-gateway"', 'instance="ctl:8090", job="turnout-control"'
OK = f'turnout_requests_total{{{P}, outcome="ok"}}'
SERVED = f'turnout_route_revision{{{GATEWAY}, gateway="0"}}'
ASKED = {OK: "0+600x2000"}


@dataclass(frozen=True, slots=True)
class Case:
    """`labels`: those of the alert when it fires, beside its severity."""

    fires: Series
    quiet: Series
    labels: dict[str, str] = field(default_factory=dict)
    at: str = "20m"


DIGITS = {"model": "digits", "version": "2"}
AT_GATEWAY = {"instance": "gw:8082"}
AT_CONTROL = {"instance": "ctl:8090"}


def outcome(code: str, values: str, role: str = "primary") -> Series:
    return {f'turnout_requests_total{{{V}, role="{role}", outcome="{code}"}}': values}


def one(series: str, fires: str, quiet: str, labels: dict[str, str], *, at: str = "20m") -> Case:
    return Case({series: fires}, {series: quiet}, labels, at)


def gauge(
    name: str, fires: str, quiet: str, *, of: str = GATEWAY, labels: dict[str, str] = AT_GATEWAY
) -> Case:
    return one(f"{name}{{{of}}}", f"{fires}x40", f"{quiet}x40", labels)


def counter(name: str, labels: dict[str, str], *, of: str, fires: str = "0+60x40") -> Case:
    return one(f"{name}{{{of}}}", fires, "60+0x40", labels)


def slow(share: int) -> Series:
    """So many of 100 predictions take longer than the objective allows."""
    name = "turnout_request_duration_seconds"
    return {
        f'{name}_bucket{{{P}, le="0.2048"}}': f"0+{100 - share}x100",
        f'{name}_bucket{{{P}, le="+Inf"}}': "0+100x100",
        f"{name}_count{{{P}}}": "0+100x100",
    }


CASES: dict[str, Case] = {
    "TurnoutGatewayDown": one(
        f"up{{{GATEWAY}}}", "0x40", "1 0 1x40", {"instance": "gw:8082", "job": "turnout-gateway"}
    ),
    "TurnoutVersionErrors": Case(
        ASKED | outcome("deadline", "0+60x40"),
        ASKED
        | outcome("deadline", "0+6x40")
        | outcome("bad_request", "0+600x40")
        | outcome("client_gone", "0+600x40"),
        DIGITS | {"role": "primary"},
    ),
    "TurnoutLatencyBurn": Case(slow(20), slow(5), DIGITS, at="90m"),
    "TurnoutNoWorkers": Case(
        ASKED | {f"turnout_workers{{{V}}}": "0x40"}, {f"turnout_workers{{{V}}}": "0x40"}, DIGITS
    ),
    "TurnoutQueueFull": Case(outcome("overloaded", "0+9x40"), outcome("overloaded", "9x40"), DIGITS),
    "TurnoutNearConcurrencyLimit": Case(
        {f"turnout_in_flight{{{V}}}": "31x40", f"turnout_concurrency_limit{{{V}}}": "32x40"},
        {f"turnout_in_flight{{{V}}}": "16x40", f"turnout_concurrency_limit{{{V}}}": "32x40"},
        DIGITS,
    ),
    "TurnoutBodiesRefused": counter("turnout_body_refused_total", AT_GATEWAY, of=GATEWAY),
    "TurnoutLoopLag": gauge("turnout_loop_lag_seconds", "0.3", "0.01"),
    "TurnoutWorkersMissing": Case(
        {f"turnout_workers_ready{{{V}}}": "1x40", f"turnout_workers_wanted{{{V}}}": "2x40"},
        {f"turnout_workers_ready{{{V}}}": "2x40", f"turnout_workers_wanted{{{V}}}": "2x40"},
        DIGITS,
    ),
    "TurnoutPanic": gauge("turnout_panic", "1", "0", of=V, labels=DIGITS),
    "TurnoutUnsolicitedAnswers": counter("turnout_unsolicited_total", DIGITS, of=V),
    "TurnoutRedisAway": gauge("turnout_snapshot_age_seconds", "60", "1"),
    "TurnoutGatewayBehind": Case(
        {SERVED: "41x40", f"turnout_committed_revision{{{CONTROL}}}": "42x40"},
        {SERVED: "0+1x40", f"turnout_committed_revision{{{CONTROL}}}": "0+1x40"},
        AT_GATEWAY,
    ),
    "TurnoutRouteProblems": gauge("turnout_route_problems", "2", "0"),
    "TurnoutRedisMemory": Case(
        {"turnout_store_memory_bytes": "95x40", "turnout_store_memory_limit_bytes": "100x40"},
        {"turnout_store_memory_bytes": "95x40"},
    ),
    "TurnoutControlDown": one(
        f"up{{{CONTROL}}}", "0x40", "1 0 1x40", {"instance": "ctl:8090", "job": "turnout-control"}
    ),
    "TurnoutNoLeader": Case(
        {f"turnout_leader_present{{{CONTROL}}}": "0x40"}, {f"turnout_leader_present{{{CONTROL}}}": "1x40"}
    ),
    "TurnoutRolloutWaits": Case(
        {'turnout_rollout_phase{model="digits", phase="paused"}': "1x40"},
        {'turnout_rollout_phase{model="digits", phase="running"}': "1x40"},
        {"model": "digits", "phase": "paused"},
    ),
    "TurnoutRolloutFailed": Case(
        {'turnout_rollout_phase{model="digits", phase="rolled_back"}': "_x50 1x40"},
        {'turnout_rollout_phase{model="digits", phase="rolled_back"}': "1x100"},
        {"model": "digits", "phase": "rolled_back"},
        at="60m",
    ),
    "TurnoutRolloutHeld": one(
        'turnout_rollout_step_seconds{model="digits"}', "90000x40", "600x40", {"model": "digits"}
    ),
    "TurnoutKeysRefused": counter(
        "turnout_rejected_total", AT_GATEWAY, of=f'{GATEWAY}, code="unauthenticated"', fires="0+600x40"
    ),
    "TurnoutAuditUnsigned": gauge("turnout_audit_unsigned", "1", "0", of=CONTROL, labels=AT_CONTROL),
    "TurnoutRecorderDrops": counter("turnout_recorder_dropped_total", AT_GATEWAY, of=GATEWAY),
    "TurnoutEvidenceLag": gauge("turnout_recorder_lag_seconds", "120", "0.3"),
    "TurnoutShadowDrops": counter("turnout_shadow_dropped_total", DIGITS, of=f'{V}, reason="full"'),
    "TurnoutNoLabels": Case(
        {'turnout_feedback_total{model="digits", result="joined"}': "0+10x60 610x180"},
        {'turnout_feedback_total{model="digits", result="joined"}': "0+10x300"},
        {"model": "digits"},
        at="200m",
    ),
    "TurnoutAccuracyDrop": one(
        f"turnout_accuracy{{{V}}}", "0.97x300 0.85x30", "0.97x300 0.95x30", DIGITS, at="330m"
    ),
    "TurnoutErrorRise": one(
        f"turnout_absolute_error{{{V}}}", "40x300 60x30", "40x300 44x30", DIGITS, at="330m"
    ),
    "TurnoutNearLimit": gauge(
        "turnout_recorder_fill_ratio",
        "0.9",
        "0.5",
        labels={"instance": "gw:8082", "job": "turnout-gateway", "limit": "recorder_fill"},
    ),
    "TurnoutSpansDropped": counter("turnout_spans_dropped_total", AT_GATEWAY, of=GATEWAY),
}  # fmt: skip
