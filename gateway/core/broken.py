"""A rule that a change would break: its name, what is wrong in words, and who may force it all the same."""

from dataclasses import dataclass

from gateway.contract.policy import Policy


@dataclass(frozen=True, slots=True)
class Broken:
    """`rule` is `<policy>.<rule>`; `override` says who may force the change (None = nobody)."""

    rule: str
    sentence: str
    override: str | None

    def __str__(self) -> str:
        return f"{self.sentence} [{self.rule}]"


def broken(policy: Policy, rule: str, sentence: str) -> Broken:
    return Broken(f"{policy.policy}.{rule}", sentence, policy.override)
