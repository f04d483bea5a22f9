"""Entries of the Redis stream that others wrote: five dialects, each made into what the server's own entries are."""
