"""Turnout: a traffic-routing inference gateway."""

__version__ = "0.1.0"
