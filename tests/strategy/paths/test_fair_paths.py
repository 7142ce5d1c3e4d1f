"""Strict fairness: every option equally often; distinct paths where relations forbid it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import UsageError
from nasforge.strategy.paths.fair import distinct_paths, fair_rows

options = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), min_size=1, max_size=5)


@given(options, st.integers(1, 13), st.integers(0, 2**31))
def test_uses_of_options_differ_by_one_at_most_and_are_equal_where_paths_divide(given_options, paths, seed):
    rows = fair_rows(given_options, paths, np.random.default_rng(seed))
    assert len(rows) == paths
    for place, each in enumerate(given_options):
        uses = Counter(row[place] for row in rows)
        assert set(uses) <= set(each)
        counts = [uses[option] for option in each]
        assert max(counts) - min(counts) <= (1 if paths % len(each) else 0)


def test_choices_draw_their_permutations_independently():
    rng = np.random.default_rng(0)
    pairs = Counter(row for _ in range(400) for row in fair_rows([range(3), range(3)], 3, rng))
    assert len(pairs) == 9
    assert min(pairs.values()) > 80  # 133 expected of each


def test_distinct_paths_are_distinct_and_all_of_them_where_they_are_few():
    rng = np.random.default_rng(1)
    assert len(set(distinct_paths(range(9), 4, rng))) == 4
    assert sorted(distinct_paths("abc", 8, rng)) == ["a", "b", "c"]


def test_no_path_and_a_choice_without_options_are_refused():
    for bad in (([[1]], 0), ([[]], 2)):
        with pytest.raises(UsageError, match="expected one path or more"):
            fair_rows(*bad, np.random.default_rng(0))
