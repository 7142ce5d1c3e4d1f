"""Every installed strategy passes the public suite, on every installed space that it can search and on small ones."""

import pytest

from nasforge import registry
from nasforge.registry import installed
from nasforge.run.compatible import why_incompatible
from nasforge.run.options import make_strategy
from nasforge.testing.strategies import StrategySuite

SPACES = {"mbconv": {"preset": "tiny"}, "mbconv_elastic": {}, "nb201": {"repeats": 1}, "int8_friendly": {}}

OPTIONS = {"bossnas": {"images": 32, "calibration": 32, "traversed": 16, "population": 4, "generations": 1}}
"""With which strategies are quick on these spaces."""


SHORT = pytest.mark.filterwarnings("ignore:no combination of the paths that bossnas rated:RuntimeWarning")
"""Suites train for a few steps, rate a few paths and set tight limits, and a strategy says so."""


def _declare(space):
    return lambda self: registry.load("spaces", space)((3, 8, 8), 10, **SPACES[space])


for _name in installed("strategies"):
    globals()[f"Test_{_name}"] = SHORT(type(f"Test_{_name}", (StrategySuite,), {"name": _name}))
    for _space in SPACES:
        if why_incompatible(make_strategy(_name, {}), _declare(_space)(None), _name) is None:
            _suite = type(
                f"Test_{_name}_on_{_space}",
                (StrategySuite,),
                {"name": _name, "declare": _declare(_space), "limits": 3, "options": OPTIONS.get(_name, {})},
            )
            globals()[_suite.__name__] = pytest.mark.slow(SHORT(_suite))
