"""Everything that a night brings, at random moments of a seed: afterwards all is as if nothing had happened."""
