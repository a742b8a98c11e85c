"""What operators see of running processes: metrics on their own port, and logs."""
