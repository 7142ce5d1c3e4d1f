"""The command line: one file per command, thin over what Python can do as well."""

from __future__ import annotations


def main() -> int:
    """Run the program on the process's arguments; the entry point `nasforge`."""
    from nasforge.cli.app import main as run

    return run()
