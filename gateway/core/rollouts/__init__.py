"""Rollouts as rules: plans, gates and steps turned into what is to be done. Knows routes and evidence, not
Redis."""
