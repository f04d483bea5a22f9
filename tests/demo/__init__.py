"""The demo's engine does real work, and obeys."""
