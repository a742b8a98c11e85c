"""Writes `dashboards/turnout.json` for Grafana: python config/grafana/make.py

The panels are a table here, because nobody can review a thousand lines of JSON. `--check` writes nothing,
and ends with 1 where the file is not what would be written. `$model` is the dashboard's variable. A query
that may find nothing while all is well ends in `or vector(0)`; `scripts/check-dashboards` holds the others to
data.
"""

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dashboards") / "turnout.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
M = 'model=~"$model"'
NOT_OK = f'{M}, outcome!="ok"'
VERSION = "{{model}} {{version}}"
STEP = "$__rate_interval"
Query = tuple[str, str]  # PromQL, legend


def per_second(metric: str, by: str, selector: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{selector}}}[{STEP}]))"


def primary(recorded: str, role: str = "primary") -> str:
    """What a recording rule keeps by model, version and role."""
    return f'model_version_role:turnout_{recorded}{{{M}, role="{role}"}}'


# Row -> panels: title, unit, what it is good for, queries. A unit is Grafana's name of it.
ROWS: dict[str, list[tuple[str, str, str, list[Query]]]] = {
    "How it goes": [
        (
            "Predictions",
            "reqps",
            "Answered and failed, of all versions.",
            [(f"sum({primary('requests:rate5m')})", "predictions")],
        ),
        (
            "Faults",
            "percentunit",
            "Of all predictions, those that failed by a version's fault.",
            [
                (
                    f"sum({primary('faults:rate5m')}) / "
                    f"sum({primary('requests:rate5m')})",
                    "faults",
                )
            ],
        ),
        (
            "Slowest version, 99 %",
            "s",
            "The worst of all versions' 99th percentiles.",
            [(f"max({primary('request_duration_seconds:p99_5m')})", "99 %")],
        ),
        (
            "Workers missing",
            "short",
            "Asked for, and not ready.",
            [(f"sum(turnout_workers_wanted{{{M}}}) - sum(turnout_workers_ready{{{M}}})", "missing")],
        ),
        (
            "Rollouts that wait for somebody",
            "short",
            "Paused or frozen: `turnout rollout status MODEL` says why.",
            [(f'count(turnout_rollout_phase{{{M}, phase=~"paused|frozen"}}) or vector(0)', "waiting")],
        ),
        (
            "Alerts firing",
            "short",
            "docs/runbooks.md has a section for each.",
            [('count(ALERTS{alertname=~"Turnout.*", alertstate="firing"}) or vector(0)', "alerts")],
        ),
    ],
    "Versions": [
        (
            "Predictions by version",
            "reqps",
            "Who gets the traffic: a split, a canary, a cutover.",
            [(primary("requests:rate5m"), VERSION)],
        ),
        (
            "Share of faults by version",
            "percentunit",
            "TurnoutVersionErrors fires above 5 %.",
            [(primary("fault_ratio:rate5m"), VERSION)],
        ),
        (
            "Latency by version",
            "s",
            "From the whole request to its reply, as clients of the gateway feel it.",
            [
                (primary("request_duration_seconds:p50_5m"), f"{VERSION} 50 %"),
                (primary("request_duration_seconds:p99_5m"), f"{VERSION} 99 %"),
            ],
        ),
        (
            "Outcomes that are not ok",
            "reqps",
            "By code: docs/http-api.md says what each means.",
            [
                (
                    per_second("turnout_requests_total", "model, version, outcome", NOT_OK)
                    + " > 0 or vector(0)",
                    f"{VERSION} {{{{outcome}}}}",
                )
            ],
        ),
        (
            "Places in use",
            "percentunit",
            "Of the predictions that may be at a version's workers at once.",
            [
                (
                    f"max by (model, version) (turnout_in_flight{{{M}}} / "
                    f"(turnout_concurrency_limit{{{M}}} > 0))",
                    VERSION,
                )
            ],
        ),
        (
            "Waiting for a place",
            "short",
            "Above 0 for long: the version needs more workers.",
            [(f"sum by (model, version) (turnout_queue{{{M}}})", VERSION)],
        ),
        (
            "Retries, hedges, fallbacks",
            "ops",
            "What clients do not see of a worker's failures.",
            [
                (f"sum(rate(turnout_retries_total{{{M}}}[{STEP}])) or vector(0)", "retries"),
                (f"sum(rate(turnout_hedges_total{{{M}}}[{STEP}])) or vector(0)", "hedges"),
                (f"sum(rate(turnout_fallbacks_total{{{M}}}[{STEP}])) or vector(0)", "fallbacks"),
            ],
        ),
        (
            "Workers that may be chosen",
            "short",
            "As the gateway sees them.",
            [(f"min by (model, version) (turnout_workers{{{M}}})", VERSION)],
        ),
    ],
    "Evidence": [
        (
            "Accuracy",
            "percentunit",
            "Right answers among labelled rows of the last hour.",
            [(f"max by (model, version) (turnout_accuracy{{{M}}})", VERSION)],
        ),
        (
            "Mean absolute error",
            "none",
            "Of models that answer with numbers, over the last hour.",
            [(f"max by (model, version) (turnout_absolute_error{{{M}}})", VERSION)],
        ),
        (
            "Labels",
            "ops",
            "By what became of them.",
            [(per_second("turnout_feedback_total", "model, result", M), "{{model}} {{result}}")],
        ),
        (
            "Evidence behind",
            "s",
            "Time since everything was last written to Redis.",
            [("max by (instance) (turnout_recorder_lag_seconds)", "{{instance}}")],
        ),
        (
            "Copies for shadows",
            "reqps",
            "Answered by shadows, and dropped.",
            [
                (f"sum by (model, version) ({primary('requests:rate5m', 'shadow')})", VERSION),
                (f"sum(rate(turnout_shadow_dropped_total{{{M}}}[{STEP}])) or vector(0)", "dropped"),
            ],
        ),
        (
            "Records lost",
            "ops",
            "Predictions that were answered and not recorded.",
            [("sum(rate(turnout_recorder_dropped_total[" + STEP + "]))", "lost")],
        ),
    ],
    "Workers": [
        (
            "One run of the model, 99 %",
            "s",
            "Without waiting.",
            [(f"model_version:turnout_worker_run_seconds:p99_5m{{{M}}}", VERSION)],
        ),
        (
            "Waiting for a run, 99 %",
            "s",
            "In the worker's own queue.",
            [(f"model_version:turnout_worker_queue_seconds:p99_5m{{{M}}}", VERSION)],
        ),
        (
            "Rows in one run",
            "short",
            "Batches form while the model is busy.",
            [(f"model_version:turnout_worker_batch_rows:mean5m{{{M}}}", VERSION)],
        ),
        (
            "CPU of workers",
            "percentunit",
            "Cores, of all workers of a version.",
            [(per_second("turnout_worker_process_cpu_seconds_total", "model, version", M), VERSION)],
        ),
    ],
    "Gateways and control": [
        (
            "CPU",
            "percentunit",
            "Cores, of all processes of a gateway.",
            [
                (per_second("turnout_process_cpu_seconds_total", "instance"), "{{instance}} gateway"),
                (per_second("turnout_control_process_cpu_seconds_total", "instance"), "{{instance}} control"),
            ],
        ),
        (
            "Revision",
            "none",
            "What was committed, and what each gateway serves: the lines lie on each other.",
            [
                ("max(turnout_committed_revision)", "committed"),
                ("min by (instance) (turnout_route_revision)", "{{instance}}"),
            ],
        ),
        (
            "Redis silent",
            "s",
            "Time since Redis last confirmed the routes.",
            [("max by (instance) (turnout_snapshot_age_seconds)", "{{instance}}")],
        ),
        (
            "Event loops held up",
            "s",
            "The longest wait of a second.",
            [("max by (instance) (turnout_loop_lag_seconds)", "{{instance}}")],
        ),
        (
            "How near the limits are",
            "percentunit",
            "Unwritten predictions, waiting copies, large bodies, open files.",
            [
                ("max by (instance) (turnout_recorder_fill_ratio)", "{{instance}} unwritten predictions"),
                ("max by (instance) (turnout_shadow_fill_ratio)", "{{instance}} waiting copies"),
                ("max by (instance) (turnout_body_fill_ratio)", "{{instance}} large bodies"),
                ("max by (instance) (turnout_open_files_ratio)", "{{instance}} open files"),
            ],
        ),
        (
            "Connections",
            "short",
            "Of clients.",
            [("sum by (instance) (turnout_connections)", "{{instance}}")],
        ),
        (
            "Memory of Redis",
            "bytes",
            "Predictions take most of it, for as long as record.ttl_s says.",
            [("max(turnout_store_memory_bytes)", "used")],
        ),
        (
            "Refused before a version was chosen",
            "reqps",
            "By code.",
            [(f"sum by (code) (rate(turnout_rejected_total[{STEP}])) or vector(0)", "{{code}}")],
        ),
    ],
}  # fmt: skip


def target(index: int, query: Query) -> dict[str, Any]:
    return {"refId": chr(65 + index), "expr": query[0], "legendFormat": query[1], "datasource": SOURCE}


def panel(
    number: int, y: int, place: int, *, is_stat: bool, about: tuple[str, str, str, list[Query]]
) -> dict[str, Any]:
    title, unit, description, queries = about
    width, height = (4, 4) if is_stat else (12, 8)
    columns = 24 // width
    return {
        "id": number,
        "type": "stat" if is_stat else "timeseries",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {
            "h": height,
            "w": width,
            "x": place % columns * width,
            "y": y + place // columns * height,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [target(index, query) for index, query in enumerate(queries)],
    }


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row, (title, abouts) in enumerate(ROWS.items()):
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
             "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}}
        )  # fmt: skip
        y += 1
        for place, about in enumerate(abouts):
            panels.append(panel(len(panels) + 1, y, place, is_stat=row == 0, about=about))
        last = panels[-1]["gridPos"]
        y = last["y"] + last["h"]
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {"name": "model", "type": "query", "label": "Model", "datasource": SOURCE, "includeAll": True,
         "multi": True, "allValue": ".*", "refresh": 2, "query": "label_values(turnout_workers, model)",
         "current": {"text": "All", "value": "$__all"}},
    ]  # fmt: skip
    return {
        "uid": "turnout",
        "title": "Turnout",
        "tags": ["turnout"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


def main() -> int:
    text = json.dumps(dashboard(), indent=2) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(text)
        return 0
    if FILE.read_text() == text:
        return 0
    print(f"{FILE} is not what this script writes: run it again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
