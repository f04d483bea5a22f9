"""Live metrics: exact in any order, over any kill, and as they leave the server."""
