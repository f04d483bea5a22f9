"""Notifications on their way: gathered, sent, tried again, given up."""
