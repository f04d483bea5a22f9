"""The command line `pilothouse`: every service of the contract as a group, every method as a command.

Nothing here names a method. Commands, arguments, help and tables are read from the descriptors when the program runs,
so that a new RPC is a new command. What is written by hand is how values of each kind are typed and shown, and a view
of metrics for people.
"""

from __future__ import annotations


def main() -> None:
    """The entry point of the program."""
    from pilothouse.cli.app import run  # noqa: PLC0415 - importing this package is not running it

    run()
