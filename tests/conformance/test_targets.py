"""Every installed target passes the public suite, with a protocol short enough for tests."""

from nasforge.registry import installed
from nasforge.testing.targets import TargetSuite

TINY = {"visits": 2, "runs": 3, "visit_ms": 0.5, "warm_up": 1, "pause_seconds": 0, "extra": 0}

NEEDS_A_PROFILE = "profile"  # its suite is in tests/targets/test_fitted.py, which makes one

for _name in sorted(installed("targets").keys() - {NEEDS_A_PROFILE}):
    _suite = type(f"Test_{_name}", (TargetSuite,), {"name": _name, "options": {"protocol": TINY}})
    globals()[_suite.__name__] = _suite
