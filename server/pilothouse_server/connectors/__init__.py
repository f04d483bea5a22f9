"""Foreign engines: their events in, our commands out. A connector is a client of the server and nothing more."""
