"""Tests of the configuration of the platform."""
