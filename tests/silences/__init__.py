"""Silences, and what keeps alerts quiet."""
