"""A small real engine and its pipelines, on the public executor SDK."""
