"""The web console: what an operator sees and does in a browser. It speaks only the control API, by HTTP."""
