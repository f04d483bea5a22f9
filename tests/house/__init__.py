"""What holds for the repository and its distributions as a whole."""
