"""Paths that split behind shared layers: sizes, sharing, and what is refused."""

import numpy as np
import pytest

from nasforge.errors import SpaceError
from nasforge.ops import MBConv
from nasforge.space.paths import split_paths
from nasforge.testing.small_spaces import ensemble_space


@pytest.mark.parametrize(("layers", "paths"), [(1, 2), (3, 2), (4, 3), (3, 1)])
def test_the_size_is_the_sum_over_splits(layers, paths):
    splits = range(1, layers + 1) if paths > 1 else [layers]
    expected = sum(3**split * 3 ** (paths * (layers - split)) for split in splits)
    assert ensemble_space(layers, paths).size == expected


def test_shared_layers_are_one_set_of_nodes_and_split_ones_k():
    space, rng = ensemble_space(4, 3), np.random.default_rng(0)
    for _ in range(30):
        architecture = space.sample(rng)
        split = int(space.describe(architecture)["split"])
        lowered = space.lower(architecture)
        blocks = [node for node in lowered.nodes if isinstance(node.op, MBConv)]
        assert len(blocks) == split + 3 * (4 - split)
        assert len(lowered.outputs["logits"]) == 3
        assert lowered.cuts.keys() >= {f"shared{layer}" for layer in range(split + 1)}


def test_all_layers_shared_is_one_path_with_k_heads():
    space = ensemble_space(3, 2)
    names = {f"trunk.{layer}": "k5" for layer in (1, 2, 3)}
    lowered = space.lower(space.architecture({"split": "3", **names}))
    reads = {lowered.nodes[index].inputs for index in lowered.outputs["logits"]}
    pools = {lowered.nodes[lowered.nodes[index].inputs[0]].inputs for index in lowered.outputs["logits"]}
    assert len(reads) == 2
    assert len(pools) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": 3, "paths": 0, "splits": [3]}, "0 paths"),
        ({"layers": 3, "paths": 2, "splits": []}, r"splits \[\]"),
        ({"layers": 3, "paths": 2, "splits": [1, 2]}, "which is the last"),
        ({"layers": 3, "paths": 2, "splits": [-1, 3]}, "from 0"),
        ({"layers": 3, "paths": 1, "splits": [1, 3]}, "one path has nothing to split"),
    ],
)
def test_numbers_that_make_no_paths_are_refused(given, message):
    with pytest.raises(SpaceError, match=message):
        split_paths(lambda x, layer, where: x, None, **given)
