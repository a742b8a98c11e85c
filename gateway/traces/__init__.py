"""Spans of sampled requests, and their way to a receiver: a leaf that gateways and workers share."""
