"""Generated code of others' contracts, kept out of the top level so that it clashes with nothing."""
