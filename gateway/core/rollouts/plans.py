"""From a template to a plan: who is the candidate, and against whom.

Called by whoever starts or rehearses a rollout. Reading YAML is the caller's; whether the versions exist is
checked by the control API.
"""

from pydantic import ValidationError

from gateway.contract.errors import CallerError
from gateway.contract.plan import Plan
from gateway.contract.route import problems_of


def plan_for(template: Plan, *, model: str, candidate: str, baseline: str | None = None) -> Plan:
    """The template about these versions; a baseline that is not given stays the template's."""
    named = {"model": model, "candidate": candidate, "baseline": baseline or template.baseline}
    try:
        return Plan.model_validate({**template.model_dump(exclude_unset=True), **named})
    except ValidationError as error:
        problems = problems_of(error)
        raise CallerError(
            "invalid_document", f"the plan does not fit: {problems[0]}", problems=problems
        ) from None
