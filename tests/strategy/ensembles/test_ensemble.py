"""Genes of ensembles, and scores of operators: what moves keep, and what scores depend on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasforge.build import Supernet
from nasforge.errors import IncompatibleError, UsageError
from nasforge.strategy.ensembles.genes import EnsembleSpace, labels_of, root_of
from nasforge.strategy.ensembles.operator_scores import OperatorScores, diversities, mean_distances, rank_scores
from nasforge.testing.small_spaces import elastic_space, ensemble_space, path_space

SPACE = ensemble_space(4, 3)
READ = EnsembleSpace.of(SPACE, "neas")


@given(st.integers(0, 2**32 - 1))
def test_genes_give_the_architecture_back(seed):
    architecture = SPACE.sample(np.random.default_rng(seed))
    assert READ.write(READ.read(architecture)) == architecture


@given(st.integers(0, 2**32 - 1))
def test_children_of_two_take_every_gene_from_a_parent_and_agree_on_what_is_shared(seed):
    rng = np.random.default_rng(seed)
    first, second = (READ.read(SPACE.sample(rng)) for _ in range(2))
    child = READ.crossover(first, second, rng)
    assert child.split in (first.split, second.split)
    for layer, row in enumerate(child.operators):
        assert layer >= child.split or len(set(row)) == 1
        assert any(set(row) <= set(parent.operators[layer]) for parent in (first, second))
    assert SPACE.contains(READ.write(child))


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_mutants_draw_from_what_is_alive_and_keep_the_rest(seed, chance):
    rng = np.random.default_rng(seed)
    alive = READ.allowed.copy()
    alive[1, 0] = alive[2, 2] = False
    parent = READ.read(READ.restricted(alive).sample(rng))
    child = READ.mutate(parent, chance, alive, rng)
    assert READ.restricted(alive).contains(READ.write(child))
    unchanged = READ.mutate(parent, 0.0, alive, rng)
    assert unchanged.split == parent.split
    assert np.array_equal(unchanged.operators, parent.operators)


def test_a_layer_that_is_split_copies_and_one_that_is_shared_keeps_a_path():
    rng = np.random.default_rng(0)
    options = {"split": "1", "trunk.1": "k3"}
    options |= {
        f"path{path}.{layer}": label for layer in (2, 3, 4) for path, label in enumerate(("k3", "k5", "wide"), 1)
    }
    wide = READ.read(SPACE.architecture(options))
    seen = set()
    for _ in range(200):
        child = READ.mutate(wide, 0.3, READ.allowed, rng)
        seen.add(child.split)
        assert all(len(set(row)) == 1 for row in child.operators[: child.split])
    assert seen == {1, 2, 3, 4}
    shared = READ.read(SPACE.architecture({"split": "4", **{f"trunk.{layer}": "k5" for layer in (1, 2, 3, 4)}}))
    assert np.array_equal(shared.operators, np.ones((4, 3)))


def test_other_spaces_are_refused_by_name():
    for space in (path_space(), elastic_space()):
        with pytest.raises(IncompatibleError, match=f"'neas' cannot search space '{space.name}'"):
            EnsembleSpace.of(space, "neas")


def test_a_restriction_without_a_common_operator_or_a_trained_one_is_an_error():
    apart = SPACE.restrict({"trunk.2": ["k3"], "path1.2": ["k5"]})
    with pytest.raises(IncompatibleError, match="no operator in common in layer 2"):
        _ = EnsembleSpace.of(apart, "neas").allowed
    fewer = SPACE.restrict({f"{side}.3": ["k3", "k5"] for side in ("trunk", "path1", "path2", "path3")})
    read = EnsembleSpace.of(fewer, "neas")
    with pytest.raises(IncompatibleError, match="'wide' of layer 3 was trained"):
        read.restricted(READ.allowed)
    assert labels_of(read, read.allowed)[3] == ["k3", "k5"]
    assert root_of(fewer) is SPACE


def test_potential_does_not_depend_on_how_often_an_operator_was_drawn():
    rng = np.random.default_rng(0)
    scores = OperatorScores(np.ones((1, 3), dtype=bool))
    better = np.asarray([0.0, 0.0, 0.05])
    for step in range(4000):
        option = int(rng.choice(3, p=[0.9, 0.05, 0.05]))
        scores.observe(np.asarray([[option, option]]), step / 4000 + better[option] + rng.normal(0, 0.01))
    often, rarely, good = scores.potential[0].tolist()
    assert scores.counts[0, 0] > 10 * scores.counts[0, 1]
    assert abs(often - rarely) < 0.015
    assert good - often > 0.03


def test_an_operator_of_two_paths_counts_once_and_the_first_value_in_full():
    scores = OperatorScores(np.ones((1, 2), dtype=bool), decay=0.9)
    scores.observe(np.asarray([[0, 1]]), 0.5)
    scores.observe(np.asarray([[1, 1]]), 1.0)
    assert scores.counts.tolist() == [[1.0, 2.0]]
    assert scores.baseline.tolist() == [0.75, 2.0]
    assert scores.potential.tolist() == [[0.0, 0.125]]


def test_distances_are_of_unit_vectors():
    x = torch.randn(16, 5)
    far = torch.cat([x[:, :1] * 0, x[:, 1:]], dim=1)
    assert mean_distances([x, 1000.0 * x]).max() < 1e-6
    scaled, plain = mean_distances([x, 7.0 * far]), mean_distances([x, far])
    assert np.allclose(scaled, plain)
    assert mean_distances([x, -x]).tolist() == pytest.approx([2.0, 2.0])
    assert mean_distances([x]).tolist() == [0.0]


def test_operators_of_a_layer_are_compared_on_the_same_input():
    """Copies of one operator are at distance 0 in every layer, though operators of earlier layers differ."""
    net = Supernet(SPACE, 0)
    for key, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(sum(map(ord, key))))
    state = net.state_dict()
    for name in state:
        if "/k5:" in name and "dw.weight" not in name:
            state[name].copy_(state[name.replace("/k5", "/k3")])
        elif "/k5:" in name:
            centre = torch.zeros_like(state[name])
            centre[..., 1:4, 1:4] = state[name.replace("/k5", "/k3")]
            state[name].copy_(centre)
    x = torch.randn(8, 3, 8, 8)
    without = READ.allowed.copy()
    without[:, 2] = False
    found = diversities(net.run, READ, without, [0, 1, 1, 0], x, "flat")
    assert len(found) == 4
    assert [row.max() for row in found] == pytest.approx([0.0] * 4, abs=1e-5)
    operators = [2, 0, 2, 1]
    for layer, row in enumerate(diversities(net.run, READ, READ.allowed, operators, x, "pooled")):
        with torch.no_grad():
            ends = [
                net.run(
                    x,
                    READ.shared_throughout([*operators[:layer], option, *operators[layer + 1 :]]),
                    stop=f"shared{layer + 1}",
                )
                for option in range(3)
            ]
        assert np.allclose(row, mean_distances([end.mean(dim=(2, 3)) for end in ends]))
        assert row[2] > row[0] > 1e-3


def test_rank_scores_by_each_rule():
    potential, diversity = [0.1, 0.2, 0.3], [3.0, 2.0, 1.0]
    assert rank_scores(potential, diversity, 1.0, "both").tolist() == pytest.approx([4 / 3] * 3)
    assert rank_scores(potential, diversity, 1.0, "potential").argmin() == 0
    assert rank_scores(potential, diversity, 1.0, "diversity").argmin() == 2
    assert rank_scores(potential, diversity, 2.0, "both").argmin() == 2
    with pytest.raises(UsageError, match="rule of operator scores"):
        rank_scores(potential, diversity, 1.0, "none")
