"""Workflows, tasks and agents as their events show them.

Every record is made so that the order of events does not matter, nor how often one comes: it keeps extremes (the
earliest start, the greatest standing, the latest statement), and sums only over events that are told apart by their id
before they get here. Of texts that disagree the later one counts, and of two of one time the greater.
"""
