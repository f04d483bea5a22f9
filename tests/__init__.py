"""Tests, one folder for each area; what more than one area needs is in `tests.support`."""
