"""The same rules and series given to promtool and to us."""
