"""Conformance suites for plug-in authors.

Under pytest, failures of the suites show the values that were compared, as failures of an author's own tests do.
Without it, which an installation for searching has not, the spaces and trials of the suites can be used all the same.
"""

from __future__ import annotations

import pkgutil
import sys

if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(
        *(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__))
    )
