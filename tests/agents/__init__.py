"""Tests of steering agents."""
