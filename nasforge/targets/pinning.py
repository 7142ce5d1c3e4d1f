"""Staying on one core while timing, where the system allows it: the core that is quietest right now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

PROBED: Final = 8


@contextmanager
def restored_affinity() -> Iterator[None]:
    """Give the calling thread its cores back at the end."""
    before = allowed_cores()
    try:
        yield
    finally:
        if before:
            _pin(before)


def allowed_cores() -> tuple[int, ...]:
    """Return the cores the calling thread may use; none where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    return tuple(sorted(os.sched_getaffinity(0)))


def pin_to_quietest(cores: tuple[int, ...], probe: Callable[[], float]) -> int | None:
    """Move the calling thread to the core on which `probe` returns least; at most eight are tried.

    Args:
        cores: the cores to choose from; with none nothing is done.
        probe: returns a time.

    Returns:
        The core, None where the thread cannot be pinned.
    """
    tried = cores[:: max(1, -(-len(cores) // PROBED))]
    found: dict[int, float] = {}
    for core in tried:
        if not _pin((core,)):
            return None
        found[core] = probe()
    if not found:
        return None
    best = min(found, key=found.__getitem__)
    _pin((best,))
    return best


def _pin(cores: tuple[int, ...]) -> bool:
    try:
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError):  # not on this system, or not permitted (containers)
        return False
    return True
