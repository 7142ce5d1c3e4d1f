"""The embedding keeps what the declaration says of options: order of numbers, no order of names, inactivity."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice, repeat
from nasforge.strategy.prediction.embedding import Embedding, squared_distances
from nasforge.testing.small_spaces import path_space


def widths_and_depths():
    width = choice(8, 16, 24, 32, name="width")

    def block(x, j):
        return Conv(16, choice(1, 3, 5, name=f"kernel{j}"))(x)

    x = repeat(block, Conv(width, 3)(Input(3, 8, 8)), depth=choice(1, 2, name="depth"))
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))})


SPACE = widths_and_depths()


def points(*options):
    rows = SPACE.integers([SPACE.architecture(each) for each in options])
    return Embedding(SPACE)(rows)


def test_numbers_are_as_far_apart_as_their_places():
    base = {"depth": 1, "kernel0": 1}
    found = points(*({**base, "width": width} for width in (8, 16, 24, 32)))
    assert np.allclose(squared_distances(found[:1], found), [[0, 1 / 3, 2 / 3, 1]])


def test_names_are_all_equally_far_apart():
    space = path_space(2)
    rows = np.asarray([each.decisions for each in space.enumerate()])
    found = squared_distances(Embedding(space)(rows), Embedding(space)(rows))
    differing = (rows[:, None] != rows[None]).sum(axis=2)
    assert np.allclose(found, differing)


def test_an_inactive_choice_is_at_a_distance_of_its_own():
    base = {"width": 8, "kernel0": 1}
    shallow, *deep = points({**base, "depth": 1}, *({**base, "depth": 2, "kernel1": each} for each in (1, 3, 5)))
    found = squared_distances(shallow[None], np.stack(deep))[0]
    assert (found - 1.0 >= 0.5 - 1e-9).all()  # 1 for the depth
    assert (found - 1.0 <= 1.5 + 1e-9).all()


@given(seed=st.integers(0, 1000))
def test_architectures_are_at_distance_zero_exactly_when_equal(seed):
    rows = SPACE.sample_batch(12, np.random.default_rng(seed))
    found = squared_distances(Embedding(SPACE)(rows), Embedding(SPACE)(rows))
    same = (rows[:, None] == rows[None]).all(axis=2)
    assert ((found < 1e-9) == same).all()
