"""Rules as files: our YAML, Prometheus' rule files, and unit tests for both. Knows no server, database or wire."""
