"""The supernet: one module that holds shared weights for every architecture of a space."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.build.masked import MaskedRun
from nasforge.build.mixing import MixedRun
from nasforge.build.passes import images_of, tell_pass
from nasforge.build.plan import Part, Plan, make_part, make_plan
from nasforge.build.variants import layer_key, make_layers
from nasforge.errors import ArchitectureError, UsageError, unknown_name_sentence
from nasforge.layers.base import Layer, LeafViews, layer_class
from nasforge.layers.drop_path import PathDropping, drop_path
from nasforge.layers.mixture import Mixture
from nasforge.space import Architecture, SearchSpace
from nasforge.space.lower import MixOp, Step
from nasforge.space.node import BoundaryOp, InputOp, Operator, Types


@final
class Supernet(nn.Module):
    """Shared weights for a space; runs any architecture of it, or a mixture over some of its choices.

    Only what an architecture computes is run: the plan of its lowered graph, which a plain network of the
    architecture would run too.

    Attributes:
        dropping: its `chance` is that of the deepest path that the space marks (`DropPath`) to be dropped in training,
            others in proportion to their depth; 0 until it is set. Mixtures and masks drop nothing.

    Args:
        space: any space, also a restricted one (weights are those of its root).
        seed: for the initial weights.
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        """Allocate layers for every variant that occurs."""
        super().__init__()
        self.space = space
        self.dropping = PathDropping()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleDict(make_layers(space))
        self.views = LeafViews()
        self._share_views()
        self._load_pretrained()
        self._remember()

    def _remember(self) -> None:
        """Keep plans: of whole architectures, and of parts between boundaries."""
        self._plan = lru_cache(maxsize=256)(self._make_plan)
        self._part = lru_cache(maxsize=1024)(self._make_part)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_plan", "_part")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch has no types here
        self._remember()

    def __deepcopy__(self, memo: dict[int, Any]) -> Supernet:
        memo[id(self.space)] = self.space  # immutable
        twin = Supernet.__new__(Supernet)
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
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
        return self.layer(layer_key(step.weights, step.part), step.op, step.input_types)

    def layer(self, key: str, op: Operator, types: Types) -> nn.Module:
        """Return a layer by its name; one without weights is made when first met.

        Raises:
            ArchitectureError: there is none, and the operator has weights.
        """
        if key not in self.layers:
            found = layer_class(op)
            if any(True for _ in found.plain(op, types).parameters()):
                raise ArchitectureError(f"the supernet of space '{self.space.name}' has no weights for '{key}'.")
            layer = found([(op, types)]).train(self.training)
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
        return self._run(x, architecture, None)[0]

    def with_boundary(self, x: Tensor | Mapping[str, Tensor], architecture: Architecture, name: str) -> tuple[Any, Any]:
        """Run an architecture; return what it gives, and the value behind a boundary, part of the same graph.

        Gradients that arrive there can be looked at or changed by a hook of the value (`register_hook`).

        Raises:
            UsageError: an unknown boundary, or one that is cut off in this architecture.
        """
        self._check_boundaries(None, name)
        return self._run(x, architecture, name)

    def _run(
        self, x: Tensor | Mapping[str, Tensor], architecture: Architecture, watched: str | None
    ) -> tuple[Any, Any]:
        """Return the outputs, and the value behind the boundary `watched`."""
        plan, layers = self._plan(architecture, ())
        place = None if watched is None else _boundary_value(plan, watched)
        values = plan.feed(x)
        reached = None if place is None else values.get(place)
        chance = self.dropping.chance if self.training else 0.0
        for step, layer, frees in zip(plan.steps, layers, plan.frees, strict=True):
            found = layer(step.op, step.input_types, *[values[i] for i in step.inputs])  # type: ignore[misc]  # no mixture here
            if chance:
                found = drop_path(found, chance * plan.drops.get(step.output, 0.0))
            values[step.output] = found
            if step.output == place:
                reached = found
            for number in frees:
                del values[number]
            del found
        outputs = plan.collect(values, self.training)
        tell_pass(images_of(x), lambda: images_of(x) * self.space.macs(architecture), outputs)
        return outputs, reached

    def _mixed(self, x: Any, architecture: Architecture, mixtures: Mapping[str, Mixture]) -> Any:
        names = [str(read.name) for read in self.space.choices]
        for name in mixtures:
            if name not in names:
                raise UsageError(unknown_name_sentence("choice", name, names))
        by_choice = {names.index(name): mixture for name, mixture in mixtures.items()}
        mixed = tuple(sorted((number, mixture.support) for number, mixture in by_choice.items()))
        plan, layers = self._plan(architecture, mixed)
        outputs = MixedRun(self, plan, layers, by_choice, names).run(x, self.training)
        tell_pass(images_of(x), lambda: images_of(x) * plan.macs, outputs)
        return outputs

    def run_masked(
        self,
        x: Tensor | Mapping[str, Tensor],
        architectures: Sequence[Architecture],
        shares: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Run several architectures in one batch; see `nasforge.build.masked` for what this can and cannot do.

        Args:
            x: the input, or inputs by name, (batch, ...).
            architectures: one per image, or one per group of equally many consecutive images.
            shares: by choice name, (options,) or (batch, options): how much of each option is run, in the place of
                what the architectures decide. Gradients flow to it.

        Returns:
            As `forward`.

        Raises:
            UsageError: numbers that do not fit, an unknown choice.
            IncompatibleError: architectures, or a layer, that masks cannot express.
        """
        run = MaskedRun(self, architectures, x, shares or {})
        outputs = run.run()
        tell_pass(images_of(x), run.image_macs, outputs)
        return outputs

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
        plan, part = self._part(architecture, start, stop)
        values = plan.feed(x) if part.source is None else {part.source: x}
        for step, layer, frees in zip(part.steps, part.layers, part.frees, strict=True):
            values[step.output] = layer(step.op, step.input_types, *[values[i] for i in step.inputs])
            for number in frees:
                del values[number]
        outputs = values[part.wanted[0]] if stop is not None else plan.collect(values, self.training)
        tell_pass(len(x), lambda: len(x) * part.macs, outputs)
        return outputs

    def _make_part(self, architecture: Architecture, start: str | None, stop: str | None) -> tuple[Plan, Part]:
        self._check_boundaries(start, stop)
        plan, layers = self._plan(architecture, ())
        cuts = {name: _boundary_value(plan, name) for name in (start, stop) if name is not None}
        wanted = (cuts[stop],) if stop is not None else tuple(n for numbers in plan.outputs.values() for n in numbers)
        return plan, make_part(plan, layers, None if start is None else cuts[start], wanted)

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


def _boundary_value(plan: Plan, name: str) -> int:
    """Return the number of the value behind a boundary."""
    if name not in plan.lowered.cuts:
        raise UsageError(f"boundary '{name}' is cut off in this architecture; choose another one.")
    return plan.lowered.values[plan.lowered.cuts[name]]
