"""Ways to start worker processes; today one: as children of the supervisor on its own machine."""
