"""The supernet: one module that holds shared weights for every architecture of a space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.build.plan import Plan, make_plan
from nasforge.build.variants import layer_key, layer_variants
from nasforge.errors import ArchitectureError, IncompatibleError, UsageError
from nasforge.layers.base import Layer, LeafViews, layer_class
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.layers.linear import ElasticLinear
from nasforge.layers.mixture import Mixture, recompute
from nasforge.space import Architecture, SearchSpace
from nasforge.space.lower import MixOp, Step
from nasforge.space.node import BoundaryOp, InputOp


@final
class Supernet(nn.Module):
    """Shared weights for a space; runs any architecture of it, or a mixture over some of its choices.

    Only what an architecture computes is run: the plan of its lowered graph, which a plain network of the
    architecture would run too.

    Args:
        space: any space, also a restricted one (weights are those of its root).
        seed: for the initial weights.
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        """Allocate layers for every variant that occurs."""
        super().__init__()
        self.space = space
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleDict(
                {key: layer_class(variants[0][0])(variants) for key, variants in layer_variants(space).items()}
            )
        self.views = LeafViews()
        self._share_views()
        self._load_pretrained()
        self._plan = lru_cache(maxsize=256)(self._make_plan)

    def __deepcopy__(self, memo: dict[int, Any]) -> Supernet:
        twin = Supernet(self.space)
        twin.load_state_dict(self.state_dict())
        twin.train(self.training)
        parameter = next(self.parameters(), None)
        if parameter is not None:
            twin.to(dtype=parameter.dtype, device=parameter.device)
        memo[id(self)] = twin
        return twin

    def _share_views(self) -> None:
        for layer in self.layers.values():
            assert isinstance(layer, Layer)
            layer.views = self.views

    def _load_pretrained(self) -> None:
        from nasforge.build.pretrained import pretrained_state

        for node in self.space.analysis.graph.nodes:
            if node.pretrained is not None:
                prefix = f"{layer_key(node.weights or node.name, '')}:"
                parts = [(key, layer) for key, layer in self.layers.items() if f"{key}:".startswith(prefix)]
                pretrained_state(node.name, node.pretrained, parts)

    def _make_plan(
        self, architecture: Architecture, mixed: tuple[tuple[int, tuple[int, ...]], ...]
    ) -> tuple[Plan, tuple[nn.Module | None, ...]]:
        plan = make_plan(self.space.lower(architecture, dict(mixed)))
        layers = [None if isinstance(s.op, MixOp) else self.layer_of(s) for s in plan.steps]
        return plan, tuple(layers)

    def layer_of(self, step: Step) -> nn.Module:
        """Return the layer that holds a step's weights; layers without weights are made when first met."""
        key = layer_key(step.weights, step.part)
        if key not in self.layers:
            found = layer_class(step.op)
            if any(True for _ in found.plain(step.op, step.input_types).parameters()):
                raise ArchitectureError(f"the supernet of space '{self.space.name}' has no weights for '{key}'.")
            layer = found([(step.op, step.input_types)])
            layer.views = self.views
            self.layers[key] = layer
        return self.layers[key]

    def forward(
        self,
        x: Tensor | Mapping[str, Tensor],
        architecture: Architecture,
        mixtures: Mapping[str, Mixture] | None = None,
    ) -> Any:
        """Run an architecture on (batch, C, H, W).

        Args:
            x: the input, or inputs by name.
            architecture: one of the space's.
            mixtures: by choice name, for choices of operator that are mixed instead of chosen.

        Returns:
            As `Network`.

        Raises:
            IncompatibleError: a mixed choice that is no choice of operator or whose candidates differ in shape.
        """
        if mixtures:
            return self._mixed(x, architecture, mixtures)
        plan, layers = self._plan(architecture, ())
        values = plan.feed(x)
        for step, layer, frees in zip(plan.steps, layers, plan.frees, strict=True):
            values[step.output] = layer(step.op, step.input_types, *[values[i] for i in step.inputs])  # type: ignore[misc]  # no mixture here
            for number in frees:
                del values[number]
        return plan.collect(values, self.training)

    def _mixed(self, x: Any, architecture: Architecture, mixtures: Mapping[str, Mixture]) -> Any:
        numbers = {str(read.name): index for index, read in enumerate(self.space.choices)}
        by_choice = {numbers[name]: mixture for name, mixture in mixtures.items()}
        mixed = tuple(sorted((number, mixture.support) for number, mixture in by_choice.items()))
        plan, layers = self._plan(architecture, mixed)
        self._check_mixed(plan, by_choice)
        graphed = _graphed(plan, by_choice)
        values = plan.feed(x)
        late = _late(plan, by_choice, graphed)
        for place, (step, layer) in enumerate(zip(plan.steps, layers, strict=True)):
            if place in late:
                continue
            if isinstance(step.op, MixOp):
                values[step.output] = self._mix(step, plan, layers, values, by_choice[step.op.choice])
                continue
            inputs = [values[i] for i in step.inputs]
            assert layer is not None
            if place in graphed:
                values[step.output] = layer(step.op, step.input_types, *inputs)
            else:
                with torch.no_grad():
                    values[step.output] = layer(step.op, step.input_types, *inputs)
        return plan.collect(values, self.training)

    def _check_mixed(self, plan: Plan, mixtures: Mapping[int, Mixture]) -> None:
        present = {step.op.choice for step in plan.steps if isinstance(step.op, MixOp)}
        missing = [self.space.choices[number].name for number in mixtures if number not in present]
        if missing:
            raise IncompatibleError(f"choice '{missing[0]}' cannot be mixed: it is inactive or no choice of operator.")
        for step in plan.steps:
            if isinstance(step.op, MixOp) and len({t.shape for t in step.input_types}) > 1:
                shapes = " and ".join(sorted({str(t) for t in step.input_types}))
                name = self.space.choices[step.op.choice].name
                raise IncompatibleError(
                    f"choice '{name}' cannot be mixed: its candidates give {shapes}; only equal shapes mix."
                )

    def _mix(
        self,
        step: Step,
        plan: Plan,
        layers: tuple[nn.Module | None, ...],
        values: dict[int, Tensor],
        mixture: Mixture,
    ) -> Tensor:
        weights = mixture.weights[list(mixture.support)]
        if not mixture.recompute:
            terms = [weights[i] * values[number] for i, number in enumerate(step.inputs)]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            return total
        active = next(i for i, option in enumerate(mixture.support) if option not in mixture.detached)
        kept = {number: value.detach() for number, value in values.items()}

        def again(candidate: int) -> Tensor:
            number = step.inputs[candidate]
            local = dict(kept)
            with torch.no_grad(), frozen_statistics(self):
                for index in _needed_steps(plan, (number,), set(local)):
                    other, layer = plan.steps[index], layers[index]
                    assert layer is not None
                    local[other.output] = layer(other.op, other.input_types, *[local[i] for i in other.inputs])
            return local[number]

        return recompute(weights, values[step.inputs[active]], active, again)

    @contextmanager
    def recording(self) -> Iterator[LeafViews]:
        """While open, sliced parameters take part as leaf views, so gradients stay as small as the slices."""
        self.views.recording = True
        try:
            yield self.views
        finally:
            self.views.recording = False

    def run(self, x: Tensor, architecture: Architecture, *, start: str | None = None, stop: str | None = None) -> Any:
        """Run the part of an architecture between two named boundaries.

        Args:
            x: the value at `start` (the network's input without one).
            architecture: one of the space's.
            start: name of a boundary; nothing before it is computed.
            stop: name of a boundary whose value is returned; the outputs without one.

        Raises:
            UsageError: an unknown boundary, or a `start` that some architecture's inputs can bypass.
        """
        self._check_boundaries(start, stop)
        plan, layers = self._plan(architecture, ())
        cuts = {name: plan.lowered.values[node] for name, node in plan.lowered.cuts.items()}
        for name in (start, stop):
            if name is not None and name not in cuts:
                raise UsageError(f"boundary '{name}' is cut off in this architecture; choose another one.")
        values = plan.feed(x) if start is None else {cuts[start]: x}
        wanted = (cuts[stop],) if stop is not None else tuple(n for numbers in plan.outputs.values() for n in numbers)
        needed = _needed_steps(plan, wanted, set(values))
        for index in needed:
            step, layer = plan.steps[index], layers[index]
            assert layer is not None
            values[step.output] = layer(step.op, step.input_types, *[values[i] for i in step.inputs])
        return values[wanted[0]] if stop is not None else plan.collect(values, self.training)

    def _check_boundaries(self, start: str | None, stop: str | None) -> None:
        nodes = self.space.analysis.graph.nodes
        named = {n.op.boundary: n.index for n in nodes if isinstance(n.op, BoundaryOp)}
        for name in (start, stop):
            if name is not None and name not in named:
                raise UsageError(f"boundary '{name}' is unknown; space '{self.space.name}' has {sorted(named)}.")
        if start is None:
            return
        stack = [named[stop]] if stop is not None else list(self.space.analysis.graph.output_nodes)
        seen = {named[start]}
        while stack:
            index = stack.pop()
            if index in seen:
                continue
            seen.add(index)
            if isinstance(nodes[index].op, InputOp):
                raise UsageError(
                    f"boundary '{start}' does not separate the input from '{stop or 'the outputs'}' for every "
                    "architecture; start at one that everything passes."
                )
            stack.extend(nodes[index].inputs)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """While open, batch normalisations do not update their running statistics."""
    norms = [m for m in module.modules() if isinstance(m, ElasticBatchNorm)]
    before = [norm.tracking for norm in norms]
    for norm in norms:
        norm.tracking = False
    try:
        yield
    finally:
        for norm, tracking in zip(norms, before, strict=True):
            norm.tracking = tracking


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """While open, dropout of a supernet is off although it trains."""
    layers = [m for m in module.modules() if isinstance(m, ElasticLinear)]
    for layer in layers:
        layer.dropping = False
    try:
        yield
    finally:
        for layer in layers:
            layer.dropping = True


def _producers(plan: Plan) -> dict[int, int]:
    return {step.output: place for place, step in enumerate(plan.steps)}


def _graphed(plan: Plan, mixtures: Mapping[int, Mixture]) -> frozenset[int]:
    """Return the steps that run with a graph: those that the outputs reach without passing a detached candidate."""
    made = _producers(plan)
    stack = [made[number] for numbers in plan.outputs.values() for number in numbers if number in made]
    found: set[int] = set()
    while stack:
        place = stack.pop()
        if place in found:
            continue
        found.add(place)
        step = plan.steps[place]
        inputs = step.inputs
        if isinstance(step.op, MixOp):
            detached = mixtures[step.op.choice].detached
            inputs = tuple(n for n, option in zip(inputs, step.op.support, strict=True) if option not in detached)
        stack.extend(made[number] for number in inputs if number in made)
    return frozenset(found)


def _late(plan: Plan, mixtures: Mapping[int, Mixture], graphed: frozenset[int]) -> frozenset[int]:
    """Return the steps that only recomputed candidates need: they do not run in the forward pass."""
    made = _producers(plan)
    kept: set[int] = set(graphed)
    stack = [
        made[number]
        for step in plan.steps
        if isinstance(step.op, MixOp) and not mixtures[step.op.choice].recompute
        for number in step.inputs
        if number in made
    ]
    while stack:
        place = stack.pop()
        if place not in kept:
            kept.add(place)
            stack.extend(made[number] for number in plan.steps[place].inputs if number in made)
    return frozenset(range(len(plan.steps))) - kept


def _needed_steps(plan: Plan, wanted: tuple[int, ...], known: set[int]) -> list[int]:
    made = _producers(plan)
    found: set[int] = set()
    stack = [number for number in wanted if number not in known]
    while stack:
        place = made[stack.pop()]
        if place not in found:
            found.add(place)
            stack.extend(number for number in plan.steps[place].inputs if number not in known)
    return sorted(found)
