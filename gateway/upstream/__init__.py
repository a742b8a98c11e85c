"""HTTP towards workers: connections, pools, probes. Knows nothing of routes, clients or Redis."""
