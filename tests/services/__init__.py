"""Events in, and workflows, agents and events out, through a real server."""
