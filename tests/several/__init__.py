"""Several replicas on one PostgreSQL: alerts, commands and engines as each of them sees them."""
