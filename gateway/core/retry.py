"""May a failed attempt be repeated? Retries are a share of recent requests, so they cannot become a storm.

A bucket of tokens: every request puts in `budget_percent / 100`, every retry takes out one. The bucket holds
at most `MOST` and starts with `RESERVE`, so that a quiet route can still retry when a worker dies. Source of
the idea: Finagle's RetryBudget; Envoy's `retry_budget` does the same with requests in flight.
"""

from dataclasses import dataclass

RESERVE = 50.0  # a worker that dies may have this many requests in flight before anything is known
MOST = 200.0


@dataclass(slots=True)
class RetryBudget:
    """Tokens of one route."""

    tokens: float = RESERVE

    def earn(self, share: float) -> None:
        """A request has come; `share` is the budget in [0, 1]."""
        self.tokens += share

    def spend(self) -> bool:
        """Take a token for one retry; False when there is none."""
        self.tokens = min(MOST, self.tokens)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
