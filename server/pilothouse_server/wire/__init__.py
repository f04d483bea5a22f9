"""Domain ⇄ `pilothouse.v1`: one file for each service, and nothing else knows both."""
