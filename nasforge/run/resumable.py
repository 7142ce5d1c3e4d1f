"""What ends long work that was stopped and can be carried on: an interruption that knows the command for it."""

from __future__ import annotations


class ResumableInterrupt(KeyboardInterrupt):
    """Work was stopped by Ctrl-C or the end of a batch job; `command` carries it on.

    Args:
        command: a line for a shell.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command
