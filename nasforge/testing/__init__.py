"""Conformance suites for plug-in authors.

Under pytest, failures of the suites show the values that were compared, as failures of an author's own tests do.
"""

from __future__ import annotations

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
