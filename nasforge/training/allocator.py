"""Pinning glibc's malloc: training frees and maps the same large blocks at every step otherwise."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_MAX: Final = -4


@functools.cache
def pin_malloc() -> bool:
    """Keep freed memory in the process and never map blocks on their own (Linux with glibc).

    Does nothing where NASFORGE_PIN_MALLOC is 0.

    Returns:
        Whether it was done.
    """
    if not sys.platform.startswith("linux") or os.environ.get("NASFORGE_PIN_MALLOC") == "0":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 << 20))
    return all(mallopt(ctypes.c_int(key), ctypes.c_int(value)) == 1 for key, value in settings)
