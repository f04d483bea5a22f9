"""Tests of why workflows wait, and of closing them by force."""
