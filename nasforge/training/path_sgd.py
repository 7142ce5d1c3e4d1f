"""SGD that steps on the slices a path used, and leaves the rest of the shared weights exactly as it is."""

from __future__ import annotations

from typing import Any, final

import torch

from nasforge.build import Supernet
from nasforge.layers.base import LeafViews
from nasforge.training.config import TrainConfig
from nasforge.training.optimiser import make_sgd


@final
class PathSGD(torch.optim.SGD):
    """SGD over a supernet's parameters that also steps leaf views recorded by `Supernet.recording`.

    The momentum of a view is a view of its parameter's momentum. Weight decay and momentum touch the used slices
    only: what was not used has no gradient, not a zero one.
    """

    def __init__(self, supernet: Supernet, config: TrainConfig) -> None:
        """Take the supernet's parameters, grouped as `make_sgd` does."""
        plain = make_sgd(supernet, config)
        super().__init__(plain.param_groups, config.lr, config.momentum, nesterov=config.momentum > 0)
        self._views: LeafViews = supernet.views
        self._group = {id(p): number for number, group in enumerate(self.param_groups) for p in group["params"]}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step the views used since the last step (or, if none were recorded, all parameters)."""
        used = [entry for entry in self._views.used.values() if entry[2].grad is not None]
        if not used:
            return super().step(closure)
        full = [group["params"] for group in self.param_groups]
        chosen: list[list[torch.Tensor]] = [[] for _ in full]
        for parameter, index, leaf in used:
            chosen[self._group[id(parameter)]].append(leaf)
            if index is not None and self.param_groups[0]["momentum"]:
                state = self.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                self.state[leaf] = {"momentum_buffer": state["momentum_buffer"][index]}
        for group, leaves in zip(self.param_groups, chosen, strict=True):
            group["params"] = leaves
        try:
            return super().step(closure)
        finally:
            for group, parameters in zip(self.param_groups, full, strict=True):
                group["params"] = parameters
            for _, index, leaf in used:
                if index is not None:
                    self.state.pop(leaf, None)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the used views, or of all parameters if none were recorded."""
        if not self._views.used:
            super().zero_grad(set_to_none)
            return
        for _, _, leaf in self._views.used.values():
            leaf.grad = None
        self._views.used.clear()


def merge_views(views: LeafViews) -> None:
    """Add the gradients of recorded views to those of their parameters, and forget the views' use."""
    for parameter, index, leaf in views.used.values():
        if index is None or leaf.grad is None:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad[index] += leaf.grad
        leaf.grad = None
    views.used.clear()
