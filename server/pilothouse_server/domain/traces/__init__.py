"""Traces: where the time of a workflow went. Values in, values out."""
