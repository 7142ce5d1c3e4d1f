"""Random generators that depend on nothing but (seed, stream, number).

Every ask, every evaluation and every phase has its own generator, so a resumed run needs no saved
random state: it derives the generator of the number at which it goes on.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, stream: str, number: int = 0) -> np.random.Generator:
    """Return the generator of one `number` in a named `stream` of a `seed`.

    >>> bool(generator(1, "ask", 0).integers(100) == generator(1, "ask", 0).integers(100))
    True
    """
    return np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, zlib.crc32(stream.encode()), number])


def integer_seed(seed: int, stream: str, number: int = 0) -> int:
    """Return a 31-bit seed for libraries that take an integer (torch, scikit-learn)."""
    return int(generator(seed, stream, number).integers(2**31 - 1))
