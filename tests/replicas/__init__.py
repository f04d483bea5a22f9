"""Several replicas on one PostgreSQL: what they share, and what only one of them may do."""
