"""Stable fingerprints of plain data, the same in every process and on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Serialise plain data with sorted keys and no spaces, so that equal values give equal text.

    >>> canonical_json({"b": 1, "a": [1, 2.5, None]})
    '{"a":[1,2.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(value: Any, length: int = 16) -> str:
    """Hash plain data to `length` hexadecimal digits (SHA-256, cut)."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]
