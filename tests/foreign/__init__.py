"""Entries that others write."""
