"""HTTP/1.1 straight from the parser: whole requests, limits, deadlines, drain; knows no routes, no models."""
