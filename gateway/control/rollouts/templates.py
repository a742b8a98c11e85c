"""Plans by name: YAML files that come with Turnout, and the operator's own.

Called by the handlers of rollouts.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from gateway.contract.errors import CallerError
from gateway.contract.plan import Plan
from gateway.contract.route import problems_of


def built_in() -> Path:
    """Where the plans are that come with Turnout: in a checkout, or inside the installed package."""
    package = Path(__file__).resolve().parents[2]
    checkout = package.parent / "config" / "rollouts"
    return checkout if checkout.is_dir() else package / "_config" / "rollouts"


@dataclass(frozen=True, slots=True)
class Templates:
    """`more`: a directory whose plans win over those that come with Turnout; empty = none."""

    more: str = ""

    def files(self) -> dict[str, Path]:
        directories = [built_in(), *([Path(self.more)] if self.more else [])]
        found = {file.stem: file for directory in directories for file in directory.glob("*.yaml")}
        return dict(sorted(found.items()))

    def plan(self, name: str) -> Plan:
        """Raises CallerError: `not_found`, or `invalid_document` with every problem of the file."""
        file = self.files().get(name)
        if file is None:
            known = ", ".join(self.files()) or "none"
            raise CallerError("not_found", f"there is no plan named {name} (there are: {known})")
        try:
            return Plan.model_validate(yaml.safe_load(file.read_text()))
        except ValidationError as error:
            problems = problems_of(error)
        except (OSError, yaml.YAMLError) as error:
            problems = [" ".join(str(error).split())]
        raise CallerError("invalid_document", f"the plan {name} is wrong: {problems[0]}", problems=problems)
