"""The expectation of a cost, and its gradient, against the sum over all architectures."""

import numpy as np
import pytest
import torch

from nasforge.errors import IncompatibleError
from nasforge.hardware.cost import WalkCost
from nasforge.strategy.paths.expected_cost import expected_cost
from nasforge.testing.small_spaces import path_space

SPACE = path_space(3)


def distributions(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(SPACE.choices), 4, generator=generator, dtype=torch.float64)
    return [torch.softmax(row, 0).requires_grad_() for row in rows]


def by_brute_force(cost, probabilities, decisions) -> torch.Tensor:
    """Sum probability x cost over all architectures that agree with `decisions` where there is no distribution."""
    total = torch.zeros((), dtype=torch.float64)
    for architecture in SPACE.enumerate():
        given = [i for i in range(len(SPACE.choices)) if i not in probabilities]
        if all(architecture.decisions[i] == decisions[i] for i in given):
            weights = [probabilities[i][architecture.decisions[i]] for i in probabilities]
            total = total + torch.stack(weights).prod() * cost(architecture)
    return total


@pytest.mark.parametrize("metric", ["params", "macs", "activation_bytes"])
@pytest.mark.parametrize("without", [(), (1,), (0, 2)])
def test_it_is_the_sum_over_all_architectures_of_probability_times_cost(metric, without):
    cost, decisions = SPACE.cost(metric), [2, 1, 3]
    for seed in range(3):
        mine, theirs = distributions(seed), distributions(seed)
        found = expected_cost(cost, {i: p for i, p in enumerate(mine) if i not in without}, decisions)
        expected = by_brute_force(cost, {i: p for i, p in enumerate(theirs) if i not in without}, decisions)
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
        found.backward()
        expected.backward()
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            if place not in without:
                # brute force differentiates the other factors too; along the simplex the two agree
                one_, other_ = one.grad - one.grad.mean(), other.grad - other.grad.mean()
                assert torch.allclose(one_, other_, rtol=1e-9, atol=1e-6)
            else:
                assert one.grad is None


def test_a_one_hot_distribution_gives_the_architecture_s_own_cost():
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = SPACE.sample(rng)
        one_hot = {i: torch.eye(4, dtype=torch.float64)[option] for i, option in enumerate(architecture.decisions)}
        assert float(expected_cost(SPACE.cost("macs"), one_hot, [0, 0, 0])) == SPACE.macs(architecture)


def test_a_cost_that_is_no_sum_of_tables_is_refused():
    walk = WalkCost("macs", lambda architecture: 1.0, SPACE.fingerprint)
    with pytest.raises(IncompatibleError, match="no sum of tables"):
        expected_cost(walk, {}, [0, 0, 0])
