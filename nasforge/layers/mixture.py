"""Mixing the candidates of a choice: weighted sums in which some candidates run without a graph.

`recompute` runs only the active candidate forward and re-runs the others, one at a time and without a
graph, in the backward pass: the gradient of every gate at the memory of one path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """How a choice is mixed.

    Attributes:
        weights: one weight per option of the choice, shape (options,); gradients flow to it.
        support: the option indices that run; the others count as weight zero.
        detached: those of the support that run without a graph: only their weight gets a gradient.
        recompute: run only `active` forward, the detached ones again in backward (see the module).
    """

    weights: Tensor
    support: tuple[int, ...]
    detached: frozenset[int] = frozenset()
    recompute: bool = False


@final
class _Recompute(torch.autograd.Function):
    """y = o_active; dL/dg_j = <dL/dy, o_j(x)> for all j, the others run again in backward without a graph."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, active: Tensor, place: int, others: Callable[[int], Tensor]) -> Tensor:
        """Return the active candidate's output unchanged."""
        ctx.save_for_backward(active)
        ctx.place, ctx.others, ctx.count = place, others, gates.shape[0]
        return active.view_as(active)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Take inner products of the incoming gradient with every candidate's output."""
        (gradient,) = gradients
        (active,) = ctx.saved_tensors
        inner = []
        for place in range(ctx.count):
            output = active if place == ctx.place else ctx.others(place)
            inner.append((gradient * output).sum())
        return torch.stack(inner), gradient, None, None


def recompute(gates: Tensor, active: Tensor, place: int, others: Callable[[int], Tensor]) -> Tensor:
    """Return `active`, with gradients to all `gates` as if it were the sum of gate x candidate (gates one-hot).

    Args:
        gates: one-hot weights of the support, shape (n,).
        active: the output of the candidate at `place`.
        place: position of the active candidate in the support.
        others: runs the candidate at another position without a graph.
    """
    apply: Any = _Recompute.apply
    result: Tensor = apply(gates, active, place, others)
    return result
