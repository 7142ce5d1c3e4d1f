"""The suites that nasforge ships, on the space and the strategy of this package."""

from nasforge.testing.spaces import SpaceSuite
from nasforge.testing.strategies import StrategySuite


class TestLadder(SpaceSuite):
    """Everything a space must keep."""

    name = "ladder"


class TestHillClimbing(StrategySuite):
    """Everything a strategy must keep."""

    name = "hill_climbing"
