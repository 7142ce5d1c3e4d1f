"""Tables by values: what a fold, a map or a ranking gives equals the plain definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import SpaceError
from nasforge.ops import Add, Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, choice, combine, select
from nasforge.space.tabulated import Tabulated, ranked

COLUMNS = st.integers(1, 30).flatmap(
    lambda rows: st.lists(
        st.lists(st.integers(-5, 5) | st.sampled_from([10**12, -(10**12)]), min_size=rows, max_size=rows),
        min_size=1,
        max_size=5,
    )
)


@given(COLUMNS)
def test_rows_are_ranked_as_numpy_does(columns):
    arrays = [np.asarray(column) for column in columns]
    first, rank = ranked(arrays)
    _, expected_first, expected = np.unique(np.stack(arrays, axis=1), axis=0, return_index=True, return_inverse=True)
    assert first.tolist() == expected_first.tolist()
    assert rank.tolist() == expected.reshape(-1).tolist()


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_a_fold_over_choices_is_the_function_of_all_at_once(sizes):
    choices = [choice(*range(size)) for size in sizes]
    folded = choices[0].map(lambda value: (value,))
    for read in choices[1:]:
        folded = combine(lambda taken, value: tuple(sorted({*taken, value})), folded, read)
    at_once = combine(lambda *values: tuple(sorted(set(values))), *choices)
    assert dict(folded.table) == dict(at_once.table)
    assert len(folded.table) == np.prod(sizes)


def test_one_choice_read_twice_is_one_axis_and_the_function_sees_only_what_occurs():
    read = choice(1, 2, 3)
    seen = []
    found = combine(lambda a, b: seen.append((a, b)) or a * b, read.map(lambda n: n % 2), read)
    assert found.choices == (read,)
    assert list(found.table.values()) == [1, 0, 3]
    assert sorted(seen) == [(0, 2), (1, 1), (1, 3)]


def test_values_that_are_equal_but_of_other_types_stay_apart():
    table = Tabulated.of((3,), [1, 1.0, True])
    assert [type(table[(i,)]) for i in range(3)] == [int, float, bool]
    with pytest.raises(KeyError):
        table[(-1,)]
    assert list(table) == [(0,), (1,), (2,)]


@given(st.permutations([0, 1, 2]))
def test_the_order_of_choices_in_an_expression_does_not_matter(order):
    choices = [choice(*range(size)) for size in (2, 3, 4)]
    found = combine(lambda *values: values, *(choices[i] for i in order))
    for key in itertools.product(*(range(len(c.options)) for c in found.choices)):
        given_options = dict(zip(found.choices, key, strict=True))
        assert found.table[key] == tuple(given_options[choices[i]] for i in order)


def test_a_refusal_names_its_own_node_though_an_equal_one_refuses_too():
    width, fine = choice(8, 16, name="width"), choice(0, 1, name="fine")
    x = Conv(8)(Input(3, 8, 8))
    wide = Conv(width)(x)
    first, second = (Add()(x, wide, name=name) for name in ("first", "second"))
    with pytest.raises(SpaceError, match="node 'second'"):  # `first` is never run
        SearchSpace({"logits": Linear(2)(GlobalPool()(select(fine.map(lambda n: 1), [first, second])))})
