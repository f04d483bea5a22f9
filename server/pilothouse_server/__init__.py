"""The Pilothouse server: control plane, aggregator, alert engine and bridge in one process or many."""
