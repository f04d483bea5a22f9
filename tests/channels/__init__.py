"""Channels, the ways out of the house, and heartbeats from outside."""
