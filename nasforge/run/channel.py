"""The actor between the driver of a distributed training and its workers.

It has a file of its own, so that its process loads neither torch nor a plug-in.
"""

from __future__ import annotations

from typing import Any, final

from nasforge.errors import NasforgeError

Event = tuple[str, tuple[Any, ...]]


@final
class Channel:
    """Events go one way, a wish to stop the other."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self._events: list[Event] = []
        self._failure: NasforgeError | None = None
        self._stopping = False

    def tell(self, events: list[Event]) -> bool:
        """Take events; return whether to stop."""
        self._events += events
        return self._stopping

    def fail(self, error: NasforgeError) -> None:
        """Take a failure that starting again would not mend: workers that are started again stop at once."""
        self._failure = self._failure or error
        self._stopping = True

    def take(self) -> tuple[list[Event], NasforgeError | None]:
        """Return the events since the last call, and what failed."""
        events, self._events = self._events, []
        return events, self._failure

    def stop(self) -> None:
        """Ask the workers to take a checkpoint and stop."""
        self._stopping = True
