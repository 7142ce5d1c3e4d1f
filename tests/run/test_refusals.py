"""What a strategy cannot work with is refused before the target is measured and before a run folder is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge.errors import InfeasibleError, UsageError
from nasforge.goals import Constraint
from nasforge.run.batch_length import check_batch_length
from nasforge.run.feasible import check_feasible
from nasforge.run.options import make_strategy
from nasforge.run.settings import Settings
from nasforge.space import SearchSpace
from nasforge.strategy import Problem
from nasforge.tasks.dataset import DataSource
from nasforge.testing.small_spaces import block_space, elastic_space
from nasforge.testing.target import MemoryTarget

pytestmark = pytest.mark.plugins


@pytest.mark.parametrize(
    ("strategy", "space", "said"),
    [
        ("bossnas", elastic_space(), "'bossnas' cannot search space .* not cut into blocks"),
        ({"name": "bossnas", "blocks": ["bO"]}, block_space(), "in space 'blocks' the boundary 'bO' is unknown"),
        ("neas", block_space(), "'neas' cannot search space .* is of no layer"),
        ({"name": "bignas", "untrained": ["size:9"]}, block_space(), "untrained of bignas was given 'size:9'"),
        ({"name": "pooling_mixture", "largest": 2}, block_space(), "'pooling_mixture' cannot search space"),
    ],
)
def test_a_space_that_the_strategy_cannot_search_is_refused_before_the_target_is_measured(
    strategy: Any, space: SearchSpace, said: str, small_source: DataSource, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(MemoryTarget, "predictor", lambda *_: pytest.fail("the target was measured first"))
    with pytest.raises(UsageError, match=said):
        nasforge.search(space=space, strategy=strategy, target=MemoryTarget(), data=small_source, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batches_too_small_for_the_strategy_leave_no_folder(small_source: DataSource, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least 16 images, and training\.batch_size=15 was given; give .*=16 or"):
        nasforge.search(
            space=block_space(), strategy="bossnas", target=MemoryTarget(), data=small_source,
            training={"batch_size": 15}, out=tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_image_is_refused_by_every_strategy_of_shared_weights(
    small_source: DataSource, tmp_path: Path
) -> None:
    for strategy in ("bignas", "shiftnas"):
        with pytest.raises(
            UsageError, match=rf"'{strategy}' .* at least 2 images, and training\.batch_size=1 was given"
        ):
            nasforge.search(
                space=elastic_space(), strategy=strategy, target=MemoryTarget(), data=small_source,
                training={"batch_size": 1}, out=tmp_path / "run",
            )  # fmt: skip
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("least", "engine", "said"),
    [
        (64, {"train_workers": 1}, None),
        (65, {"train_workers": 1}, r"training\.batch_size=65 or more"),
        (32, {"train_workers": 2}, None),
        (33, {"train_workers": 2}, r"33 images on each worker, and 2 workers share batches of 64; .*batch_size=66 or"),
    ],
)
def test_the_batch_of_each_worker_has_to_be_long_enough(
    least: int, engine: Any, said: str | None, small_source: DataSource
) -> None:
    strategy = make_strategy("bossnas", {"smallest_batch": least})
    settings = Settings.read({"space": "mbconv", "strategy": "bossnas", "engine": engine, "workers": 2})
    if said is None:
        check_batch_length(strategy, settings, small_source)
        return
    with pytest.raises(UsageError, match=said):
        check_batch_length(strategy, settings, small_source)


def test_data_with_fewer_images_than_a_batch_needs_are_named(small_source: DataSource) -> None:
    held = len(small_source.split("train").labels)
    strategy = make_strategy("bossnas", {"smallest_batch": held + 1})
    settings = Settings.read({"space": "mbconv", "strategy": "bossnas", "training": {"batch_size": 2 * held}})
    with pytest.raises(UsageError, match=f"the train split of the data has {held}; give more data"):
        check_batch_length(strategy, settings, small_source)


@pytest.mark.parametrize(("share", "narrows"), [(0.9, True), (0.1, False)])
def test_a_narrower_space_is_advised_only_where_it_could_help(share: float, narrows: bool) -> None:
    space = elastic_space()
    cost = space.cost("params")
    limit = Constraint("params", share * min(map(cost, space.enumerate())))
    with pytest.raises(InfeasibleError, match="raise the limit to that or more") as refusal:
        check_feasible(Problem(space, constraints=(limit,), costs={"params": cost}), 0)
    assert ("space.width" in str(refusal.value)) == narrows
