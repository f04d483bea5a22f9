"""Tests of rules as files."""
