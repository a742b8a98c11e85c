"""What evidence says: sums, and intervals that hold however often somebody looks. Knows no route and no
rollout."""
