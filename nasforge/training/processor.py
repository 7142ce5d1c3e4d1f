"""The processor set up for training: one thread, and malloc pinned.

Without pinning, training frees and maps the same large blocks at every step.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Final

from nasforge.errors import UsageError

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


@functools.cache
def prepare_processor() -> int:
    """Set torch up for small networks on a processor: malloc pinned, one thread.

    A second thread gains nothing on networks of 100,000 parameters and costs dearly where another process has work:
    every small operator waits for a thread that is not scheduled. OMP_NUM_THREADS or NASFORGE_THREADS overrule it.

    Returns:
        The number of threads.

    Raises:
        UsageError: NASFORGE_THREADS is no number of threads.
    """
    import torch

    pin_malloc()
    given = os.environ.get("NASFORGE_THREADS")
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise UsageError(f"NASFORGE_THREADS is '{given}'; expected a whole number of threads above zero.")
        torch.set_num_threads(int(given))
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return torch.get_num_threads()
