"""Of the web console: what needs no browser."""
