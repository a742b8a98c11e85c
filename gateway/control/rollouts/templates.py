"""Plans by name: the YAML files of one directory. Called by the handlers of rollouts."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from gateway.contract.errors import CallerError
from gateway.contract.plan import Plan
from gateway.contract.route import problems_of

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Templates:
    """`directory` None: there are none."""

    directory: Path | None

    def names(self) -> list[str]:
        if self.directory is None or not self.directory.is_dir():
            return []
        return sorted(file.stem for file in self.directory.glob("*.yaml"))

    def plan(self, name: str) -> Plan:
        """Raises CallerError: `not_found`, or `invalid_document` with every problem of the file."""
        if _NAME.fullmatch(name) is None or name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise CallerError("not_found", f"there is no plan named {name} (there are: {known})")
        assert self.directory is not None
        file = self.directory / f"{name}.yaml"
        try:
            return Plan.model_validate(yaml.safe_load(file.read_text()))
        except ValidationError as error:
            problems = problems_of(error)
        except (OSError, yaml.YAMLError) as error:
            problems = [" ".join(str(error).split())]
        raise CallerError("invalid_document", f"the plan {name} is wrong: {problems[0]}", problems=problems)
