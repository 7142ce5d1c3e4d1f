"""Addresses at which there is no Ray."""

import time

import pytest

from nasforge.errors import UsageError
from nasforge.run.engine import Engine
from nasforge.run.ray import connected


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "no-such-host.invalid:6379"])
def test_an_address_where_nothing_answers_is_said_soon(address: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UsageError, match="nothing answers at"), connected(Engine(address=address), 2):
        pass
    assert time.monotonic() - begun < 20
