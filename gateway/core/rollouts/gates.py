"""Is a gate of a rollout kept? PASS, FAIL, HOLD or ERROR, with the numbers, however often it is asked.

PASS: the evidence shows that the bound is kept. FAIL: it shows that it is not. HOLD: it shows neither yet, or
the gate wants more labels first. ERROR: it could not be measured, or cannot be right. Only PASS lets a step
pass, so that missing, empty and broken numbers never promote anything.

`confidence` is the chance that a gate never gives a false FAIL (nor a false PASS) in the whole rollout. Where
a gate looks at evidence of one step only, each step begins a new test: the error that is allowed is divided
by the number of such tests. Likewise for the values of a header: while k of them have evidence, each is
tested at 1 / (k (k + 1)) of it, so that the j-th value to come up never has more than 1 / (j (j + 1)), and
all together never more than the whole.

Called by `core.rollouts.rollout` at every tick. It knows nothing of routes, time and phases.
"""

from collections.abc import Mapping
from dataclasses import replace

from gateway.contract.evidence import PRIMARY, SHADOW
from gateway.contract.plan import LABELLED, Gate, Metric, Plan, Step
from gateway.contract.rollout import Outcome, Verdict
from gateway.core.evidence.sums import Table
from gateway.core.rollouts.gate_readings import Question, candidates_labels
from gateway.core.rollouts.gate_verdict import judge_reading, verdict_of
from gateway.core.rollouts.seen import Evidence

_OUTSIDE = frozenset({Metric.PROMETHEUS, Metric.WEBHOOK})
_BY_ROLE = frozenset({Metric.ERROR_RATE, Metric.LATENCY})


def gates_of(plan: Plan, step: Step) -> tuple[Gate, ...]:
    """The plan's own, then the step's; none in a pause, nor where the candidate gets no requests."""
    return plan.gates + step.gates if _is_judged(step) else ()


def _is_judged(step: Step) -> bool:
    return step.cutover is not None or bool(step.weight) or bool(step.shadow)


def alpha_of(plan: Plan, gate: Gate, *, is_plans: bool) -> float:
    """The error that one test of this gate may have."""
    alpha = 1 - gate.confidence
    if not is_plans:
        return alpha
    steps = [step for step in plan.steps if _is_judged(step)]
    if gate.window == "step":
        return alpha / max(1, len(steps))
    if gate.metric in _BY_ROLE:
        return alpha / max(1, len({_role(step) for step in steps}))
    return alpha


def judge_step(
    plan: Plan,
    step: Step,
    evidence: Evidence | str,
    *,
    baseline: str,
    candidate: str,
    external: Mapping[int, Verdict],
    foresee: bool = True,
) -> tuple[Verdict, ...]:
    """The verdict of every gate of the step, in the order of `gates_of`."""
    return tuple(
        _outside(gate, external.get(position))
        if gate.metric in _OUTSIDE
        else judge_gate(
            gate,
            baseline=baseline,
            candidate=candidate,
            evidence=evidence,
            step=step,
            alpha=alpha_of(plan, gate, is_plans=position < len(plan.gates)),
            foresee=foresee,
        )
        for position, gate in enumerate(gates_of(plan, step))
    )


def judge_gate(
    gate: Gate,
    *,
    baseline: str,
    candidate: str,
    evidence: Evidence | str,
    step: Step,
    alpha: float | None = None,
    foresee: bool = True,
) -> Verdict:
    """One gate that evidence answers. `foresee`: estimate how many more observations decide."""
    if isinstance(evidence, str):
        return verdict_of(gate, Outcome.ERROR, f"{gate.title} could not be measured: {evidence}")
    table = _table(gate, evidence)
    if table is None:
        return verdict_of(
            gate, Outcome.ERROR, f"{gate.title}: evidence older than {gate.maturity_s:g} s was not read"
        )
    asked = Question(
        table=table,
        reference=table if _baseline_answers(step) else evidence.rollout,
        baseline=baseline,
        candidate=candidate,
        role=_role(step),
        alpha=1 - gate.confidence if alpha is None else alpha,
    )
    if gate.slice is None:
        return judge_reading(gate, asked, foresee=foresee)
    return _judge_slices(gate, asked, foresee=foresee)


def _table(gate: Gate, evidence: Evidence) -> Table | None:
    is_whole = gate.window == "rollout"
    if gate.maturity_s <= 0 or gate.metric not in LABELLED:
        return evidence.rollout if is_whole else evidence.step
    return (evidence.mature_rollout if is_whole else evidence.mature_step).get(gate.maturity_s)


def _role(step: Step) -> str:
    """In which role the candidate is judged: as a shadow only where nothing else is asked of it."""
    return SHADOW if step.shadow and not step.weight else PRIMARY


def _baseline_answers(step: Step) -> bool:
    """Whether the baseline still answers requests in this step; else its earlier evidence is the measure."""
    return step.cutover is None and step.weight != 100


def _judge_slices(gate: Gate, asked: Question, *, foresee: bool) -> Verdict:
    """The worst of all values; the gate passes when each of them does."""
    parts = {
        value: table
        for (header, value), table in sorted(asked.table.slices.items(), key=lambda item: item[0])
        if header == gate.slice and _has_evidence(gate, asked, table)
    }
    if not parts:
        return verdict_of(
            gate, Outcome.HOLD, f"{gate.title}: no evidence of {asked.candidate} by {gate.slice} yet"
        )
    alpha = asked.alpha / (len(parts) * (len(parts) + 1))
    questions, verdicts = {}, {}
    for value, table in parts.items():
        reference = table
        if asked.reference is not asked.table:
            reference = asked.reference.slices.get((str(gate.slice), value), table)
        questions[value] = replace(asked, table=table, reference=reference, alpha=alpha)
        verdicts[value] = judge_reading(gate, questions[value], foresee=False)
    for outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.HOLD):
        if found := {value: verdict for value, verdict in verdicts.items() if verdict.outcome is outcome}:
            value = min(found, key=lambda name: found[name].observations)
            verdict = judge_reading(gate, questions[value], foresee=foresee)
            others = f" (and {len(found) - 1} other values)" if len(found) > 1 else ""
            return verdict.model_copy(
                update={"sentence": f"{gate.slice} = {value}{others}: {verdict.sentence}"}
            )
    least = min(verdicts.values(), key=lambda verdict: verdict.observations)
    sentence = f"each of {len(verdicts)} values of {gate.slice} is within the bound; fewest: {least.sentence}"
    return least.model_copy(update={"sentence": sentence})


def _has_evidence(gate: Gate, asked: Question, table: Table) -> bool:
    if gate.metric is Metric.ERROR_RATE:
        return (asked.role, asked.candidate) in table.roles
    return candidates_labels(gate, table, asked.candidate) > 0


def _outside(gate: Gate, verdict: Verdict | None) -> Verdict:
    """What a query or a webhook gave, under this gate's name."""
    if verdict is None:
        return verdict_of(gate, Outcome.HOLD, f"{gate.title}: not asked yet")
    return verdict.model_copy(update={"gate": gate.title, "blocks": gate.blocks})
