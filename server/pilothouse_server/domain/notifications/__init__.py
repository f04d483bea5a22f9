"""Notifications: what is told to whom, when, and in which form. Values in, values out."""
