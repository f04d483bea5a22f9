"""Several replicas: leases, fences, and what becomes of a tenure that is over."""
