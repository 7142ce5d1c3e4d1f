"""Honest ranking: coefficients, partial correlations, ceilings and regret against independent formulas."""

import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from nasforge.bench.rank_correlation import partial_correlation, rank_correlations, resampled_weights
from nasforge.bench.ranking import Coefficient, honest_ranking, rating_difference, spearman_brown
from nasforge.bench.ranking_table import ranking_rows
from nasforge.bench.regret import top_regret
from nasforge.errors import UsageError

few = st.integers(0, 5).map(float)  # few values, so ties are common
matrices = hnp.arrays(float, st.tuples(st.integers(4, 12), st.just(3)), elements=few)


@given(matrices)
def test_coefficients_are_those_of_scipy_ties_included(columns: np.ndarray) -> None:
    spearman, kendall = rank_correlations(columns)
    for first, second in combinations(range(3), 2):
        x, y = columns[:, first], columns[:, second]
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            assert math.isnan(spearman[0, first, second])
            assert math.isnan(kendall[0, first, second])
            continue
        assert spearman[0, first, second] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert kendall[0, first, second] == pytest.approx(stats.kendalltau(x, y).statistic)
        assert spearman[0, first, second] == spearman[0, second, first]


@settings(max_examples=25)
@given(matrices, st.integers(0, 100))
def test_a_resample_by_weights_is_the_resample_written_out(columns: np.ndarray, seed: int) -> None:
    weights = resampled_weights(len(columns), 3, seed)
    assert (weights.sum(axis=1) == len(columns)).all()
    spearman, kendall = rank_correlations(columns, weights)
    for number, counts in enumerate(weights.astype(int)):
        written = np.repeat(columns, counts, axis=0)
        alone = rank_correlations(written)
        np.testing.assert_allclose(spearman[number], alone[0][0], equal_nan=True)
        np.testing.assert_allclose(kendall[number], alone[1][0], equal_nan=True)


def test_more_architectures_than_a_block_of_rows_are_all_counted() -> None:
    rng = np.random.default_rng(0)
    columns = rng.normal(size=(300, 2))
    assert rank_correlations(columns)[0][0, 0, 1] == pytest.approx(stats.spearmanr(*columns.T).statistic)
    assert rank_correlations(columns)[1][0, 0, 1] == pytest.approx(stats.kendalltau(*columns.T).statistic)


@given(hnp.arrays(float, st.tuples(st.integers(6, 20), st.just(3)), elements=st.floats(-5, 5), unique=True))
def test_partial_spearman_is_the_correlation_of_what_ranks_leave_given_the_third(columns: np.ndarray) -> None:
    ranks = np.apply_along_axis(stats.rankdata, 0, columns)
    design = np.column_stack([np.ones(len(ranks)), ranks[:, 2]])
    left = [ranks[:, k] - design @ np.linalg.lstsq(design, ranks[:, k], rcond=None)[0] for k in (0, 1)]
    if min(np.linalg.norm(each) for each in left) < 1e-6:
        return
    found = rank_correlations(columns)[0][0]
    partial = partial_correlation(found[[0], [1]], found[[0], [2]], found[[1], [2]])[0]
    assert partial == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(float, (12, 4), elements=st.floats(0.5, 9), unique=True), st.sampled_from([np.log, np.sqrt, np.exp]))
def test_nothing_but_the_order_of_scores_and_costs_matters(columns: np.ndarray, monotone: np.ufunc) -> None:
    scores, truth, macs, params = columns.T
    plain = honest_ranking(scores, truth, macs, params, resamples=20)
    if len(np.unique(monotone(columns[:, [0, 2, 3]]))) < 36:
        return
    moved = honest_ranking(monotone(scores), truth, monotone(macs), 3 * params + 1, resamples=20)
    assert plain == moved


def lies_in(value: float | None, coefficient: Coefficient) -> bool:
    assert None not in (value, coefficient.low, coefficient.high)
    return coefficient.low < value < coefficient.high  # type: ignore[operator]  # checked in the line above


def width(coefficient: Coefficient) -> float:
    assert coefficient.low is not None
    assert coefficient.high is not None
    return coefficient.high - coefficient.low


def random_case(seed: int = 0, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    macs = rng.uniform(1, 10, count)
    worth = rng.normal(size=count) + 0.5 * macs
    truth = worth[:, None] + rng.normal(0, 0.5, (count, 2))
    return worth + rng.normal(0, 1, count), truth, macs, macs * rng.uniform(0.8, 1.2, count)


def test_figures_of_a_ranking_are_those_of_the_plain_formulas() -> None:
    scores, truth, macs, params = random_case()
    found = honest_ranking(scores, truth, macs, params)
    mean = truth.mean(axis=1)
    for name, column in (("rating", scores), ("macs", macs), ("params", params)):
        assert found.agreement[name].spearman.value == pytest.approx(stats.spearmanr(column, mean).statistic)
        assert found.agreement[name].kendall.value == pytest.approx(stats.kendalltau(column, mean).statistic)
    assert found.agreement["macs"].spearman_given_macs is None
    assert found.ceiling is not None
    assert found.ceiling.spearman.value == pytest.approx(stats.spearmanr(truth[:, 0], truth[:, 1]).statistic)
    assert found.ceiling.kendall.value == pytest.approx(stats.kendalltau(truth[:, 0], truth[:, 1]).statistic)


def test_intervals_hold_the_value_and_are_those_of_a_written_out_bootstrap() -> None:
    scores, truth, macs, _ = random_case(1)
    found = honest_ranking(scores, truth[:, 0], macs, resamples=300).rating
    values = []
    for counts in resampled_weights(40, 300).astype(int):
        drawn = np.repeat(np.arange(40), counts)
        values.append(stats.spearmanr(scores[drawn], truth[drawn, 0]).statistic)
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.spearman.low, found.spearman.high) == pytest.approx((low, high))
    for each in (found.spearman, found.kendall, found.spearman_given_macs, found.kendall_given_macs):
        assert each is not None
        assert lies_in(each.value, each)


def test_a_rating_that_only_knows_macs_has_nothing_left_given_macs() -> None:
    _, truth, macs, _ = random_case(2)
    found = honest_ranking(macs**2, truth, macs)
    assert found.rating.spearman == found.agreement["macs"].spearman
    assert found.rating.spearman_given_macs is not None
    assert found.rating.spearman_given_macs.value is None
    noisy = honest_ranking(macs + np.random.default_rng(0).normal(0, 0.5, 40), truth, macs).rating
    assert noisy.spearman_given_macs is not None
    assert lies_in(0.0, noisy.spearman_given_macs)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=7), st.integers(1, 7))
def test_regret_of_equals_is_the_mean_over_all_that_could_have_been_taken(rows: list[tuple[int, int]], k: int) -> None:
    scores, truth = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    k = min(k, len(rows))
    edge = sorted(scores)[-k]
    sure, equal = [t for s, t in zip(scores, truth, strict=True) if s > edge], truth[scores == edge]
    bests = [max([*sure, *taken]) for taken in combinations(equal, k - len(sure))]
    assert top_regret(scores, truth, k) == pytest.approx(truth.max() - np.mean(bests), abs=1e-9)


def test_regret_of_all_is_zero_and_falls_with_k() -> None:
    scores, truth, _, _ = random_case(3)
    regrets = [top_regret(scores, truth[:, 0], k) for k in range(1, 41)]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[-1] == 0


def test_missing_scores_and_truths_are_left_out_and_counted() -> None:
    scores, truth, macs, params = random_case(4)
    scores[3], truth[5], truth[7, 0] = np.nan, np.nan, np.nan
    found = honest_ranking(scores, truth, macs, params, resamples=50)
    kept = np.delete(np.arange(40), [3, 5])
    alone = honest_ranking(scores[kept], truth[kept], macs[kept], params[kept], resamples=50)
    assert (found.architectures, found.missing) == (38, 2)
    assert found.agreement == alone.agreement


def test_a_constant_rating_is_undefined_and_regrets_like_chance() -> None:
    _, truth, macs, _ = random_case(5)
    found = honest_ranking(np.ones(40), truth, macs, resamples=50)
    assert found.rating.spearman.value is None
    assert found.rating.kendall_given_macs is not None
    assert found.rating.kendall_given_macs.value is None
    assert found.rating.regret == found.chance
    json.dumps(found.to_json(), allow_nan=False)
    assert "undefined" in str(ranking_rows({"a": found}))


def test_an_infinitely_bad_score_is_the_lowest_rank() -> None:
    scores, truth, _, _ = random_case(6)
    low, infinite = scores.copy(), scores.copy()
    low[2], infinite[2] = scores.min() - 1, -np.inf
    assert honest_ranking(low, truth, resamples=10) == honest_ranking(infinite, truth, resamples=10)


def test_one_seed_has_no_ceiling_and_three_have_the_mean_over_pairs() -> None:
    scores, truth, _, _ = random_case(7)
    assert honest_ranking(scores, truth[:, 0], resamples=10).ceiling is None
    three = np.column_stack([truth, truth.mean(axis=1) + np.random.default_rng(1).normal(0, 1, 40)])
    found = honest_ranking(scores, three, resamples=10).ceiling
    assert found is not None
    expected = np.mean([stats.spearmanr(three[:, a], three[:, b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))])
    assert found.spearman.value == pytest.approx(expected)
    assert found.mean_spearman == pytest.approx(spearman_brown(expected, 3))
    assert found.perfect_spearman == pytest.approx(math.sqrt(spearman_brown(expected, 3)))


def test_a_difference_of_two_ratings_is_paired_and_narrower_than_theirs() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    first = truth + rng.normal(0, 0.5, 60)
    second = first + rng.normal(0, 0.05, 60)
    found = rating_difference(first, second, truth)
    single = honest_ranking(first, truth).rating.spearman
    assert found.value == pytest.approx(
        stats.spearmanr(first, truth).statistic - stats.spearmanr(second, truth).statistic
    )
    assert width(found) < width(single) / 2


def test_a_table_has_a_row_for_each_rating_and_for_everything_it_is_beside() -> None:
    scores, truth, macs, params = random_case(8)
    ranking = honest_ranking(scores, truth, macs, params, top=(1, 5, 100), resamples=20)
    header, rows = ranking_rows({"first": ranking, "second": ranking})
    names = [row[0] for row in rows]
    assert names[:5] == ["first", "second", "MACs alone", "parameters alone", "chance"]
    assert names[5:] == ["two seeds of the truth", "a perfect rating, 2 seeds"]
    assert {len(row) for row in rows} == {len(header)}
    assert header[-2:] == ("regret of the best", "regret of the best 5")


def test_the_ceiling_counts_what_every_seed_has_a_truth_of() -> None:
    scores, truth, macs, params = random_case(9)
    truth[:3, 1] = np.nan
    ranking = honest_ranking(scores, truth, macs, params, resamples=20)
    rows = {row[0]: row[1] for row in ranking_rows({"first": ranking})[1]}
    assert rows["first"] == rows["chance"] == len(scores)
    assert rows["two seeds of the truth"] == rows["a perfect rating, 2 seeds"] == len(scores) - 3


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (([1, 2, 3], [1, 2, 3]), {}, "at least 4"),
        (([1, 2, 3, np.nan, np.nan], [1, 2, 3, 4, 5]), {}, "3 architectures"),
        (([1, 2, 3, 4], [1, 2, 3, 4, 5]), {}, "rating of a ranking"),
        (([1, 2, 3, 4], [1, 2, 3, 4], [1, 2]), {}, "macs of a ranking"),
        (([1, 2, 3, 4], [1, 2, 3, 4]), {"confidence": 1.0}, "confidence"),
        (([1, 2, 3, 4], [1, 2, 3, 4]), {"top": (0,)}, "top was given 0"),
        (([1, 2, 3, 4], [1, 2, 3, 4]), {"resamples": 0}, "resamples"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_a_sentence(
    arguments: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        honest_ranking(*arguments, **options)
