"""Impossible pairs of space and strategy are refused before anything is spent, naming what makes them impossible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasforge
from nasforge import Input, SearchSpace, choice, one_of, repeat
from nasforge.build import Supernet
from nasforge.build.variants import checked_variants
from nasforge.errors import IncompatibleError, SpaceError
from nasforge.ops import Conv, GlobalPool, Linear, Pool
from nasforge.run.compatible import check_compatible, why_incompatible
from nasforge.run.options import make_strategy
from nasforge.space import Choice, Node
from nasforge.strategy.paths.logits import PathLogits
from nasforge.testing.small_spaces import elastic_space

pytestmark = pytest.mark.plugins


def closed(x: Node, name: str = "custom") -> SearchSpace:
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name=name)


def grouped(width_share: Any = "slice", groups_share: Any = "slice", squeeze: Choice | None = None) -> SearchSpace:
    """Return a space with a grouped convolution whose width and number of groups are chosen."""
    width = choice(8, 16, name="width", share=width_share)
    by = squeeze or choice(1, 2, name="by", share=width_share)
    middle = nasforge.combine(lambda channels, less: channels // less, width, by)
    x = Conv(middle, choice(1, 3, name="kernel"))(Input(3, 8, 8), name="enter")
    x = Conv(middle, choice(3, 5, name="other"), groups=choice(1, 2, name="groups", share=groups_share))(x, name="mid")
    return closed(Conv(width, 1)(x), "grouped")


@pytest.mark.parametrize(
    ("space", "named"),
    [
        (grouped(groups_share="none"), {"width", "by"}),
        (grouped(width_share="none"), {"groups"}),
        (grouped(), {"width", "by", "groups"}),
        (grouped(groups_share="none", squeeze=choice(1, 2, name="by", share="none")), {"width"}),
    ],
)
def test_groups_over_sliced_channels_are_refused_with_their_node_and_exactly_the_choices_at_fault(
    space: SearchSpace, named: set[str]
) -> None:
    reason = why_incompatible(make_strategy("bignas", {}), space, "bignas")
    assert reason is not None
    assert "strategy 'bignas' cannot search space 'grouped': node 'mid'" in reason
    assert {name for name in ("width", "by", "groups", "kernel", "other") if f"'{name}'" in reason} == named
    assert why_incompatible(make_strategy("random", {}), space, "random") is None  # networks alone slice nothing
    with pytest.raises(SpaceError, match="node 'mid'"):
        Supernet(space)


def test_groups_with_weights_of_their_own_are_shared_as_the_advice_says() -> None:
    space = grouped("none", "none")
    assert why_incompatible(make_strategy("bignas", {}), space, "bignas") is None
    Supernet(space)


def test_a_choice_that_reaches_the_width_from_outside_needs_a_field_that_reads_it() -> None:
    def space(width: Choice, out: Any) -> SearchSpace:
        x = Conv(width)(Input(3, 8, 8))
        return closed(Conv(out, 3, groups=2)(x, name="mid"))

    for share in ("slice", "none"):
        with pytest.raises(SpaceError, match="fix 'width', or give share='none' there and let a field"):
            checked_variants(space(choice(8, 16, name="width", share=share), 16))  # type: ignore[arg-type]  # Share
    read = choice(8, 16, name="width", share="none")
    Supernet(space(read, read.map(lambda channels: 16)))


def test_a_refused_search_leaves_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="node 'mid'"):
        nasforge.search(space=grouped(), strategy="bignas", target="gpu", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_choices_with_one_option_left_are_of_no_kind() -> None:
    """A space of several kinds, restricted to choices of operator, is one that a strategy for operators searches."""
    x = Conv(choice(8, 16, name="width"))(Input(3, 8, 8))
    x = repeat(lambda source, place: Conv(8)(source), x, depth=choice(1, 2, name="depth"))
    x = one_of([Pool("max", 3)(x), Pool("avg", 3)(x)], name="pool", labels=("max", "avg"))
    whole = closed(x)
    strategy = make_strategy("proxyless", {})
    with pytest.raises(IncompatibleError, match="choice 'width' decides an attribute"):
        check_compatible(strategy, whole, "proxyless")
    with pytest.raises(IncompatibleError, match="choice 'depth' decides a depth"):
        check_compatible(strategy, whole.restrict({"width": [16]}), "proxyless")
    left = whole.restrict({"width": [16], "depth": [1]})
    assert why_incompatible(strategy, left, "proxyless") is None


def nested() -> SearchSpace:
    """Return choices of operator with attributes inside of candidates, restricted to one kernel size, not the first."""
    x: Node = Input(3, 8, 8)
    for place in range(3):
        kernel = choice(3, 5, name=f"kernel{place}")
        candidates = [Conv(8, kernel)(x), Conv(8, 1)(x), Conv(8, 3)(x)]
        x = one_of(candidates, name=f"op{place}", labels=("conv", "pointwise", "other"))
    return closed(x, "nested").restrict({f"kernel{place}": [5] for place in range(3)})


@pytest.mark.parametrize("name", ["proxyless", "proxyless_rl"])
def test_decided_attributes_of_candidates_are_held_only_where_the_candidate_is_chosen(name: str) -> None:
    space = nested()
    strategy = make_strategy(name, {"warmup": 0.0, "arch_every": 1, "arch_after": 0.0, "finalists": 27})
    result = nasforge.search(
        space=space, strategy=strategy, target="gpu", retrain=False, budget="1-epochs", training={"batch_size": 256}
    )
    assert result.document["evaluations"] == 27 == space.size
    for entry in [result.best, *result.document["pareto"]]:
        decided = space.describe(space.validated(space.from_json(entry["architecture"])))
        for place in range(3):
            assert decided.get(f"kernel{place}") == ("5" if decided[f"op{place}"] == "conv" else None)


def test_drawn_paths_belong_to_the_space() -> None:
    space = nested()
    paths, rng = PathLogits(space, 0), np.random.default_rng(0)
    drawn = [space.validated(paths.draw(rng)) for _ in range(400)]
    assert len(set(drawn)) == 27
    total = sum(float(paths.log_probability(each.decisions).detach().exp()) for each in set(drawn))
    assert total == pytest.approx(1.0, abs=1e-5)


def choice_within_a_candidate() -> SearchSpace:
    """Declare a choice of operators within another's candidate."""
    x = Conv(8, 3)(Input(3, 8, 8), name="stem")
    inner = one_of([Conv(8, 3)(x, name="i3"), Conv(8, 5)(x, name="i5")], name="inner", labels=("k3", "k5"))
    return closed(one_of([inner, Conv(8, 1)(x, name="o1")], name="outer", labels=("inner", "k1")))


def decided() -> SearchSpace:
    space = elastic_space()
    return space.restrict({name: [label] for name, label in space.describe(space.largest()).items()})


@pytest.mark.parametrize(
    ("strategy", "options", "space", "said"),
    [
        ("pooling_mixture", {"models": 517}, elastic_space(), "models=517"),
        ("pooling_mixture", {"largest": 515}, elastic_space(), "515 at most"),
        ("bossnas", {}, elastic_space(), "not cut into blocks"),
        ("neas", {}, elastic_space(), "paths that split"),
        ("nasnet_rl", {}, decided(), "nothing to decide"),
        ("proxyless", {}, choice_within_a_candidate(), "not asked in every"),
        ("proxyless_rl", {}, choice_within_a_candidate(), "not asked in every"),
    ],
)
def test_a_space_is_refused_before_its_latency_is_measured(
    strategy: str, options: dict[str, Any], space: SearchSpace, said: str
) -> None:
    with pytest.raises(IncompatibleError, match=said):
        check_compatible(make_strategy(strategy, options), space, strategy)
