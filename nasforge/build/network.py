"""A network of plain torch modules, built from a lowered graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.build.passes import images_of, tell_pass
from nasforge.build.plan import Plan, make_plan
from nasforge.build.variants import layer_key
from nasforge.layers import layer_class
from nasforge.layers.drop_path import DropPath
from nasforge.space.lower import Lowered, Step


def module_name(step: Step) -> str:
    """Return the name of a step's module, that of its layer in a supernet."""
    return layer_key(step.weights, step.part)


@final
class Network(nn.Module):
    """One architecture as plain modules: no choices, no slicing, no weights but its own.

    Calling it on (batch, C, H, W) gives logits (batch, classes); several outputs come as a dict by name, several
    heads as a list in training and as their mean in evaluation. Paths that its space marks are dropped in training if
    that asks for it (`nasforge.layers.drop_path.schedule_drop_path`).
    """

    def __init__(self, lowered: Lowered) -> None:
        """Build freshly initialised modules for every primitive layer."""
        super().__init__()
        self.plan: Plan = make_plan(lowered)
        self.layers = nn.ModuleDict()
        self._names: list[str] = []
        for step in self.plan.steps:
            name = module_name(step)
            while name in self.layers:  # a node may run another node's weights: each gets a copy
                name += "'"
            self.layers[name] = layer_class(step.op).plain(step.op, step.input_types)
            self._names.append(name)
        depths = self.plan.drops
        self.paths = nn.ModuleDict(
            {str(step.output): DropPath(depths[step.output]) for step in self.plan.steps if step.output in depths}
        )

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> Any:
        """Run the network."""
        return self._run(x, None)[0]

    def with_boundary(self, x: Tensor | Mapping[str, Tensor], name: str) -> tuple[Any, Tensor]:
        """Run the network; return what it gives, and the value behind a boundary of its space.

        Raises:
            KeyError: no such boundary, or it is cut off in this architecture.
        """
        lowered = self.plan.lowered
        outputs, reached = self._run(x, lowered.values[lowered.cuts[name]])
        assert reached is not None
        return outputs, reached

    def _run(self, x: Tensor | Mapping[str, Tensor], watched: int | None) -> tuple[Any, Tensor | None]:
        """Return the outputs, and the value of the number `watched`."""
        values = self.plan.feed(x)
        reached = values.get(watched) if watched is not None else None
        for step, name, frees in zip(self.plan.steps, self._names, self.plan.frees, strict=True):
            found = self.layers[name](*[values[number] for number in step.inputs])
            values[step.output] = self.paths[str(step.output)](found) if str(step.output) in self.paths else found
            if step.output == watched:
                reached = values[step.output]
            for number in frees:
                del values[number]
        return self.plan.collect(values, self.training), reached

    def module_of(self, place: int) -> nn.Module:
        """Return the module of the step at `place`."""
        return self.layers[self._names[place]]


def tell_network(module: object, x: Tensor | Mapping[str, Tensor], outputs: Any) -> None:
    """Tell whoever counts passes that a module has run on `x`; only of a `Network` the multiply-accumulates are known.

    Networks do not tell by themselves, since they are exported too.
    """
    if isinstance(module, Network):
        tell_pass(images_of(x), lambda: images_of(x) * module.plan.macs, outputs)


def build_network(lowered: Lowered, seed: int | None = None) -> Network:
    """Build a network, initialised from `seed` (from torch's global generator without one).

    Nodes that name a pretrained module start from it.
    """
    if seed is None:
        network = Network(lowered)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(lowered)
    load_pretrained(network)
    return network


def load_pretrained(network: Network) -> None:
    """Copy pretrained weights into the nodes that name them.

    Raises:
        ArchitectureError: the pretrained state does not fit the node's layers.
    """
    from nasforge.build.pretrained import pretrained_state

    parts: dict[int, list[tuple[str, nn.Module]]] = {}
    for place, step in enumerate(network.plan.steps):
        parts.setdefault(step.node, []).append((step.part, network.module_of(place)))
    for index, node in enumerate(network.plan.lowered.nodes):
        if node.pretrained is not None and index in parts:
            pretrained_state(node.name, node.pretrained, parts[index])
