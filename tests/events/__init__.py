"""Finding and counting events that are stored."""
