"""May a failed attempt be repeated? Retries are a share of recent requests, so they cannot become a storm.

A bucket of tokens: every request puts in a share of one, every retry takes out one. The bucket holds at most
`MOST` and starts with `RESERVE`, so that a quiet route can still retry when a worker dies. Requests are only
counted when they come; what they put in is added up when a token is wanted. Source of the idea: Finagle's
RetryBudget; Envoy's `retry_budget` does the same with requests in flight.
"""

from dataclasses import dataclass

RESERVE = 50.0  # a worker that dies may have this many requests in flight before anything is known
MOST = 200.0


@dataclass(slots=True)
class RetryBudget:
    """Tokens of one route; raise `asked` for every request."""

    tokens: float = RESERVE
    asked: int = 0
    counted: int = 0  # of `asked`, those whose share is in `tokens`

    def spend(self, share: float) -> bool:
        """Take a token for one retry; False when there is none. `share`: the budget in [0, 1]."""
        self.tokens = min(MOST, self.tokens + share * (self.asked - self.counted))
        self.counted = self.asked
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
