"""What is old goes, what is live stays, and nobody is left with what is gone."""
