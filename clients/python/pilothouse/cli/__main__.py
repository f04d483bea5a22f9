"""`python -m pilothouse.cli`."""

from pilothouse.cli import main

if __name__ == "__main__":
    main()
