"""Traces: facts in any order, what is wrong with them, and how they are asked for."""
