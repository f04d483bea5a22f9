"""Real graphs, a real checkpointer and a real server."""
