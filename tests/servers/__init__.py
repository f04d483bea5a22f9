"""Real servers for tests, from wheels: started on free ports, stopped and started again on the same data."""
