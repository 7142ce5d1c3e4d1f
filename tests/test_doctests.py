"""Examples in the docstrings of the plug-in packages run; pytest collects those of the core by itself."""

from __future__ import annotations

import doctest
import importlib.util
import pkgutil

import pytest

pytestmark = pytest.mark.plugins


def plugin_modules() -> list[str]:
    found = []
    for package in ("nasforge_spaces", "nasforge_strategies"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        folder = list(spec.submodule_search_locations or [])
        found += [f"{package}.{module.name}" for module in pkgutil.iter_modules(folder)]
    return found


@pytest.mark.parametrize("name", plugin_modules())
def test_the_examples_of_a_plugin_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
