"""Who calls the control API, as far as it is known, and what their scope allows.

Found out by `door` before a handler runs; a handler takes it as `Caller` from FastAPI where it has to look
into a body, or to leave out of a list what the caller may not see.
"""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from gateway.contract.access import Role
from gateway.contract.errors import CallerError

SCOPE_KEY = "turnout.caller"  # in the ASGI scope


@dataclass(frozen=True, slots=True)
class Known:
    """`name` is "" where keys are off; `models` None = all."""

    name: str = ""
    role: Role = Role.ADMIN
    models: frozenset[str] | None = None
    key_id: str = ""
    has_key: bool = field(default=False)

    def sees(self, model: str) -> bool:
        return self.models is None or model in self.models

    def require(self, model: str) -> None:
        if not self.sees(model):
            raise CallerError(
                "forbidden", f"the key {self.name} is not for {model}: use one whose scope has it"
            )

    def require_all(self) -> None:
        if self.models is not None:
            raise CallerError(
                "forbidden", f"this is about all models, and the key {self.name} is for some: use one for all"
            )


def _caller_of(request: Request) -> Known:
    caller = request.scope.get(SCOPE_KEY)
    return caller if isinstance(caller, Known) else Known(role=Role.CLIENT, models=frozenset())


Caller = Annotated[Known, Depends(_caller_of)]
