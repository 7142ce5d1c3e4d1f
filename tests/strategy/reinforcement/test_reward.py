"""The reward of a quality and costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.strategy.reinforcement.reward import cost_aware_reward


def test_it_is_the_product_of_powers():
    assert cost_aware_reward(0.8, [2.0, 4.0], -0.5) == pytest.approx(0.8 / 8**0.5)
    assert cost_aware_reward(-70.0, [], -0.07) == -70.0


@given(quality=st.floats(0.001, 100) | st.floats(-100, -0.001), cheap=st.floats(0.01, 10), times=st.floats(1.5, 10))
def test_the_dearer_of_two_equally_good_is_worse_whatever_the_sign(quality, cheap, times):
    assert cost_aware_reward(quality, [cheap * times], -0.07) < cost_aware_reward(quality, [cheap], -0.07)
