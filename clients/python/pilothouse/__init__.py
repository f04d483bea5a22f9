"""Client, command line and executor SDK of Pilothouse."""
