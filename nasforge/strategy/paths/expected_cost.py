"""The expectation of an additive cost under independent distributions over choices, differentiable in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from nasforge.errors import IncompatibleError
from nasforge.hardware.cost import Cost


def expected_cost(cost: Cost, probabilities: Mapping[int, torch.Tensor], decisions: Sequence[int]) -> torch.Tensor:
    """Return E[cost] as a scalar tensor; the tables are data and get no gradient.

    Args:
        cost: additive over tables.
        probabilities: by choice index, shape (options,).
        decisions: option indices of the choices without a distribution; -1 counts as the first option.

    Raises:
        IncompatibleError: the cost is not additive.
    """
    if not cost.tables:
        raise IncompatibleError(
            f"cost '{cost.metric}' is no sum of tables here, so it has no expectation; use another strategy."
        )
    like = next(iter(probabilities.values()), torch.zeros(()))
    total = like.new_tensor(cost.constant)
    for table in cost.tables:
        value = torch.as_tensor(table.values, dtype=total.dtype, device=total.device)
        for axis in reversed(table.axes):
            weights = probabilities.get(axis)
            value = value[..., max(decisions[axis], 0)] if weights is None else value @ weights
        total = total + value
    return total


def expected_costs(cost: Cost, probabilities: Mapping[int, torch.Tensor], decisions: Sequence[int]) -> torch.Tensor:
    """Return `expected_cost` of each row of a batch, (batch,).

    For one-hot rows it is the cost itself, with the gradient of its multilinear extension: what one option in the
    place of another would cost while all other choices stay.

    Args:
        cost: additive over tables.
        probabilities: by choice index, (batch, options); at least one.
        decisions: option indices of the choices without a distribution; -1 counts as the first option.

    Raises:
        IncompatibleError: the cost is not additive.
    """
    if not cost.tables:
        return expected_cost(cost, probabilities, decisions)
    like = next(iter(probabilities.values()))
    total = like.new_full((len(like),), cost.constant)
    for table in cost.tables:
        value = torch.as_tensor(table.values, dtype=like.dtype, device=like.device)[None]
        for axis in table.axes:
            weights = probabilities.get(axis)
            if weights is None:
                value = value[:, max(decisions[axis], 0)]
            else:
                rows = weights.reshape(*weights.shape, *[1] * (value.dim() - 2))
                value = (value * rows).sum(dim=1)
        total = total + value
    return total
