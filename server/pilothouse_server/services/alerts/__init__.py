"""The alert engine, its journal, and the desk that people turn to."""
