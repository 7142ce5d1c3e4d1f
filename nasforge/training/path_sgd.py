"""SGD that steps on the slices a path used, and leaves the rest of the shared weights exactly as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, final

import torch
from torch import nn
from torch.optim.sgd import sgd

from nasforge.build import Supernet
from nasforge.layers.base import Index, LeafViews, Taken
from nasforge.training.config import TrainConfig
from nasforge.training.optimiser import make_sgd

_OPTIONS: Final = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize", "foreach")


@final
class PathSGD(torch.optim.SGD):
    """SGD over a supernet's parameters that also steps leaf views recorded by `Supernet.recording`.

    The momentum of a view is a view of its parameter's momentum, so what is saved and loaded is the parameters'.
    Weight decay and momentum touch the used slices only: what was not used has no gradient, not a zero one. Where
    several slices of one parameter were used in one step, their gradients are summed first.
    """

    def __init__(self, supernet: Supernet, config: TrainConfig, others: Sequence[nn.Module] = ()) -> None:
        """Take the parameters of the supernet and of other modules (heads), grouped as `make_sgd` does."""
        plain = make_sgd(nn.ModuleList([supernet, *others]), config)
        super().__init__(plain.param_groups, config.lr, config.momentum, nesterov=config.momentum > 0)
        self._views: LeafViews = supernet.views
        self._momenta: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self._group = {id(p): number for number, group in enumerate(self.param_groups) for p in group["params"]}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Step the recorded views, and the parameters that have a gradient of their own."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        views = self._by_parameter()
        shared = {key for key, taken in views.items() if len(taken) > 1 or taken[0][0].grad is not None}
        spared = [self._merge(views.pop(key)) for key in shared]
        self._step_with([taken[0] for taken in views.values()])
        for put_back in spared:
            put_back()
        return loss

    def _by_parameter(self) -> dict[int, list[Taken]]:
        found: dict[int, list[Taken]] = {}
        for taken in self._views.used.values():
            if taken[2].grad is not None and id(taken[0]) in self._group:
                found.setdefault(id(taken[0]), []).append(taken)
        return found

    def _step_with(self, views: Sequence[Taken]) -> None:
        """Take SGD's step with the parameters that have a gradient, and with the views."""
        by_group: list[list[Taken]] = [[] for _ in self.param_groups]
        for taken in views:
            by_group[self._group[id(taken[0])]].append(taken)
        for group, found in zip(self.param_groups, by_group, strict=True):
            whole = [parameter for parameter in group["params"] if parameter.grad is not None]
            leaves = [leaf for _, _, leaf in found]
            buffers: list[torch.Tensor | None] = [None] * (len(whole) + len(leaves))
            if group["momentum"]:
                buffers = [self.state[parameter].get("momentum_buffer") for parameter in whole]
                buffers += [self._momentum_view(*taken) for taken in found]
            stepped = [*whole, *leaves]
            gradients = [tensor.grad for tensor in stepped]
            sgd(stepped, gradients, buffers, **{name: group[name] for name in _OPTIONS})
            if group["momentum"]:
                for parameter, buffer in zip(whole, buffers, strict=False):
                    self.state[parameter]["momentum_buffer"] = buffer

    def _momentum(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: torch.Tensor = state["momentum_buffer"]
        return buffer

    def _momentum_view(self, parameter: torch.Tensor, index: Index, leaf: torch.Tensor) -> torch.Tensor:
        buffer = self._momentum(parameter)
        kept = self._momenta.get(id(leaf))
        if kept is None or kept[0] is not leaf or kept[1] is not buffer:
            kept = self._momenta[id(leaf)] = (leaf, buffer, buffer[index])
        return kept[2]

    def _merge(self, taken: Sequence[Taken]) -> Callable[[], None]:
        """Add views that may overlap to their parameter's gradient; return what puts back the rest after the step."""
        parameter = taken[0][0]
        whole = parameter.grad is not None
        unused = torch.ones_like(parameter, dtype=torch.bool)
        for _, index, leaf in taken:
            unused[index] = False
            _add(parameter, index, leaf)
        if whole or not unused.any():
            return _nothing
        moved = [parameter]
        if self.param_groups[self._group[id(parameter)]]["momentum"]:
            moved.append(self._momentum(parameter))  # type: ignore[arg-type]  # a tensor like its parameter
        before = [tensor[unused] for tensor in moved]

        def put_back() -> None:
            for tensor, values in zip(moved, before, strict=True):
                tensor[unused] = values

        return put_back

    def leaves(self) -> list[torch.Tensor]:
        """Return the views that were recorded since the last step, in the order of their use."""
        return [leaf for _, _, leaf in self._views.used.values()]

    def merge(self) -> None:
        """Move the gradients of recorded views to their parameters, which are then stepped whole."""
        merge_views(self._views)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, those of views too, and which views were used."""
        super().zero_grad(set_to_none)
        for _, _, leaf in self._views.used.values():
            leaf.grad = None
        self._views.used.clear()


def _nothing() -> None:
    """Put nothing back."""


def _add(parameter: torch.nn.Parameter, index: Index, leaf: torch.Tensor) -> None:
    """Move the gradient of a view to its parameter."""
    assert leaf.grad is not None
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    parameter.grad[index] += leaf.grad
    leaf.grad = None


def merge_views(views: LeafViews) -> None:
    """Add the gradients of recorded views to those of their parameters, and forget the views' use."""
    for parameter, index, leaf in views.used.values():
        if leaf.grad is not None:
            _add(parameter, index, leaf)
    views.used.clear()
