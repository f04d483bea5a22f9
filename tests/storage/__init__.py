"""The database, its migrations and the event log's file."""
