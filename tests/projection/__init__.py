"""From events to the rows that people look at."""
