"""The hot path: from a client's request to a worker's answer, and what is recorded of it."""
