"""What the platform knows, as pure values and folds: standard library only, and `now` is an argument."""
