"""Foreign engines: their events in, our commands out."""
