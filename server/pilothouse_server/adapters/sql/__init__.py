"""Tables and stores for both databases."""
