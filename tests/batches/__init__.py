"""One action on many workflows: looked at, confirmed, asked for at a rate, and accounted for."""
