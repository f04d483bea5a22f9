"""The verbs: ingest, project, aggregate, alert, control, notify. They know ports, never adapters."""
