"""Grids: Hydra's grammar expands them, members are named safely, and mistakes are named before anything runs."""

from __future__ import annotations

import itertools

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from nasforge.config.grid import expand, member_name, overrides_of, prepare, prepare_command
from nasforge.errors import UsageError
from nasforge.run.sweep_folder import Member

pytestmark = pytest.mark.plugins


def members(*overrides: str) -> tuple[Member, ...]:
    return expand(OverridesParser.create().parse_overrides(prepare(overrides)))


def test_every_combination_is_a_member_once_with_the_constants() -> None:
    found = members("seed=1,2", "strategy=random,evolution", "data=digits")
    assert [each.overrides for each in found] == [
        (f"seed={seed}", f"strategy={strategy}", "data=digits")
        for seed, strategy in itertools.product((1, 2), ("random", "evolution"))
    ]
    assert [each.name for each in found][:2] == ["seed=1,strategy=random", "seed=1,strategy=evolution"]


@pytest.mark.parametrize("grid", ["seed=range(1,4)", "seed=choice(1,2,3)", "seed=1,2,3", "seed=1,2,3,2"])
def test_ranges_and_choices_of_hydra_are_values(grid: str) -> None:
    assert [each.overrides for each in members(grid)] == [("seed=1",), ("seed=2",), ("seed=3",)]


def test_names_do_not_depend_on_the_order_of_keys() -> None:
    first, second = members("seed=1,2", "strategy=random,evolution"), members("strategy=random,evolution", "seed=1,2")
    assert {each.name for each in first} == {each.name for each in second}


def test_options_of_plugins_need_no_plus() -> None:
    assert members("strategy.population=4,8")[0].overrides == ("++strategy.population=4",)
    assert members("strategy.population=4,8")[0].name == "strategy.population=4"


def test_nothing_swept_is_one_member() -> None:
    assert members("seed=3") == (Member("run", ("seed=3",)),)


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=3))
def test_names_are_safe_for_every_text(values: list[str]) -> None:
    name = member_name([f"data={value}" for value in values])
    assert name.startswith("data=")
    assert len(name) <= 130
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=+,-")


@given(st.text(max_size=150), st.text(max_size=150))
def test_different_values_have_different_names(first: str, second: str) -> None:
    names = [member_name([f"data={value}"]) for value in (first, second)]
    assert (names[0] == names[1]) == (first == second)


@given(
    st.dictionaries(
        st.sampled_from(["data", "storage", "evaluation"]),
        st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30),
        min_size=1,
    )
)
def test_texts_given_in_python_come_back_as_they_were(settings: dict[str, str]) -> None:
    parsed = OverridesParser.create().parse_overrides(overrides_of(settings))
    assert {each.key_or_group: each.value() for each in parsed} == settings


def test_lists_given_in_python_are_swept_over() -> None:
    assert overrides_of({"seed": [1, 2], "retrain": [True, False], "limits.latency": ["5ms"], "out": None}) == [
        "seed=1,2",
        "retrain=true,false",
        "limits.latency='5ms'",
    ]
    with pytest.raises(UsageError, match=r"expected a name, and options as strategy\.OPTION"):
        overrides_of({"strategy": [{"name": "evolution"}]})


def test_budgets_sweep_over_amounts_and_presets() -> None:
    assert [each.name for each in members("budget=hour,8-evaluations,1.5min")] == [
        "budget=hour",
        "budget=8-evaluations",
        "budget=1.5min",
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("strateggy=random,evolution", "Did you mean 'strategy'"),
        ("strategy=evolutoin", "Did you mean 'evolution'"),
        ("seed", "expected key=value"),
        ("seed=[1", "expected key=value"),
        ("out=a,b", "--out"),
    ],
)
def test_mistakes_that_concern_all_members_are_named(given: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        prepare([given])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("seed=range(3,3)", r"'seed=range\(3,3\)' gives no value"),
        ("training.lr=interval(0,1)", "range"),
    ],
)
def test_a_grid_without_members_is_refused(given: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        members("strategy=random,evolution", given)


def test_hydras_own_words_stay_as_they_are() -> None:
    words = ["--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "-c", "job", "strategy.population=4,8"]
    assert prepare_command(words) == [*words[:-1], "++strategy.population=4,8"]
