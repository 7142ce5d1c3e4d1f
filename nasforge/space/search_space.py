"""The search space: one declaration, from which everything else is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import ArchitectureError, SpaceError, unknown_name_sentence
from nasforge.identity import fingerprint
from nasforge.space import encode, move_batches, moves
from nasforge.space.additive import AdditiveCost, NodeCost, NodeVariants, WalkCost, additive_cost, node_variants
from nasforge.space.analysis import Analysis, analyse, offer
from nasforge.space.architecture import Architecture
from nasforge.space.choice import Choice
from nasforge.space.count import Elimination, draw, eliminate
from nasforge.space.graph import compile_graph
from nasforge.space.lower import Lowered, alone, lower
from nasforge.space.naming import Naming
from nasforge.space.node import Node
from nasforge.space.occurring import canonical_factors
from nasforge.space.repeats import Repeats
from nasforge.space.restriction import consistent
from nasforge.space.table import TableTooLargeError
from nasforge.space.tensor import TensorType

Law = Literal["choices", "architectures"]
METRICS = ("params", "macs", "activation_bytes", "bitops")


@final
class SearchSpace:
    """A graph with choices, and the set of architectures it describes. Immutable.

    Args:
        outputs: the node of each output by name, or a list of nodes for the heads of an ensemble.
        name: under which architectures and errors speak of the space.
        sampling: `choices` draws each active choice uniformly; `architectures` draws every architecture with
            the same probability. The two differ widely where choices are conditional.

    Raises:
        SpaceError: the declaration is wrong; see `nasforge.space.analysis`.
    """

    def __init__(
        self, outputs: Mapping[str, Node | Sequence[Node]], *, name: str = "custom", sampling: Law = "choices"
    ) -> None:
        if sampling not in ("choices", "architectures"):
            raise SpaceError(f"sampling law '{sampling}' is unknown; expected 'choices' or 'architectures'.")
        self.name = name
        self.sampling: Law = sampling
        self._analysis = analyse(compile_graph(outputs))
        self._allowed = tuple(tuple(range(len(read.options))) for read in self.choices)
        self.parent: SearchSpace | None = None

    # What it is made of

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All choices of the root space, by index."""
        return self._analysis.graph.choices

    @property
    def allowed(self) -> tuple[tuple[int, ...], ...]:
        """The option indices that restriction has left to each choice."""
        return self._allowed

    @property
    def analysis(self) -> Analysis:
        """Types and liveness of the graph, as tables."""
        return self._analysis

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input by name, (C, H, W)."""
        return self._analysis.graph.inputs()

    @property
    def output_shapes(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Every shape that each output can have, by name, without the batch axis."""
        analysis = self._analysis
        found = {}
        for name, nodes in analysis.graph.outputs.items():
            kinds = [analysis.universe[int(cell)] for node in nodes for cell in np.unique(analysis.types[node].values)]
            found[name] = tuple(dict.fromkeys(kind.shape for kind in kinds if isinstance(kind, TensorType)))
        return found

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of options of each choice in the root space."""
        return tuple(len(read.options) for read in self.choices)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the decisions the root space offers; sizes, widths and repeats of the network do not count."""
        if self.parent is not None:
            return self.parent.fingerprint
        return fingerprint([self.name, *offer(self._analysis)])

    @cached_property
    def size(self) -> int:
        """The exact number of architectures.

        Raises:
            SpaceError: the conditions are too entangled to count.
        """
        return self._elimination.size

    @cached_property
    def _elimination(self) -> Elimination:
        try:
            return eliminate(
                canonical_factors(self.choices, self._analysis.active, self._allowed, self.sizes), self.sizes
            )
        except TableTooLargeError as error:
            raise SpaceError(f"the conditions of space '{self.name}' are too entangled to count exactly.") from error

    # Architectures as values

    def architecture(self, options: Mapping[str, Any]) -> Architecture:
        """Make an architecture from option labels (or options) by choice name.

        Inactive choices may be left out; an active one must be given.

        Raises:
            ArchitectureError: an unknown choice or option, one missing, or one that restriction forbids.
        """
        return self._naming.architecture(options)

    @cached_property
    def _naming(self) -> Naming:
        return Naming(self.name, self.fingerprint, self.choices, self._analysis.order, self._program)

    def validated(self, architecture: Architecture) -> Architecture:
        """Return the architecture if it belongs to this space.

        Raises:
            ArchitectureError: it is of another space, not valid, or outside the restriction.
        """
        return self._naming.validated(architecture)

    def contains(self, architecture: Architecture) -> bool:
        """Say whether the architecture belongs to this (possibly restricted) space."""
        try:
            self.validated(architecture)
        except ArchitectureError:
            return False
        return True

    def from_decisions(self, decisions: Sequence[int] | npt.NDArray[Any]) -> Architecture:
        """Wrap one row of valid decisions."""
        row = decisions.tolist() if isinstance(decisions, np.ndarray) else decisions
        return Architecture(tuple(row), self.fingerprint)

    def describe(self, architecture: Architecture) -> dict[str, str]:
        """Return the label of every active choice by name."""
        return self._naming.describe(architecture)

    def to_json(self, architecture: Architecture) -> dict[str, Any]:
        """Return the architecture as plain data."""
        return self._naming.to_json(architecture)

    def from_json(self, data: Mapping[str, Any]) -> Architecture:
        """Read what `to_json` wrote.

        Raises:
            ArchitectureError: the data are of another space or not an architecture.
        """
        return self._naming.from_json(data)

    # Moves

    @cached_property
    def _program(self) -> moves.Program:
        return moves.compile_program(self._analysis, self._allowed)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture by the space's sampling law."""
        if self.sampling == "architectures":
            return self.sample_uniform(rng)
        return Architecture(tuple(moves.sample(self._program, rng)), self.fingerprint)

    def sample_uniform(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture with every one equally likely."""
        drawn = draw(self._elimination, self.sizes, rng)
        decisions = list(drawn)
        moves.close(self._program, decisions)
        return Architecture(tuple(decisions), self.fingerprint)

    def sample_batch(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
        """Draw `n` rows of decisions, shape (n, choices), -1 where inactive."""
        if self.sampling == "architectures":
            return np.asarray([self.sample_uniform(rng).decisions for _ in range(n)], dtype=np.int16)
        return move_batches.sample_batch(self._program, n, rng)

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Change one active decision and repair what follows; always another architecture, if there is one."""
        changed = moves.mutate(self._program, architecture.decisions, rng)
        return architecture if changed is None else Architecture(tuple(changed), self.fingerprint)

    def mutate_batch(self, decisions: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[np.int16]:
        """Mutate each row of decisions once."""
        return move_batches.mutate_batch(self._program, decisions, rng)

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """Take each decision from either parent, then repair."""
        return Architecture(
            tuple(moves.crossover(self._program, first.decisions, second.decisions, rng)), self.fingerprint
        )

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield the architectures that differ in one decision (newly active ones at their first option)."""
        for decisions in moves.neighbours(self._program, architecture.decisions):
            yield Architecture(tuple(decisions), self.fingerprint)

    def repair(self, decisions: Sequence[int] | Architecture, rng: np.random.Generator) -> Architecture:
        """Return the nearest valid architecture: inactive decisions go, missing and forbidden ones are drawn."""
        row = list(decisions.decisions if isinstance(decisions, Architecture) else decisions)
        if len(row) != len(self.choices):
            raise ArchitectureError(
                f"{len(row)} decisions were given, space '{self.name}' has {len(self.choices)} choices."
            )
        return Architecture(tuple(moves.settle(self._program, row, rng)), self.fingerprint)

    def decide(self, pick: Callable[[int, tuple[int, ...]], int]) -> Architecture:
        """Decide active choices one after another: `pick(choice, options)` returns one of the options possible.

        Choices and options are given by index; a choice comes after all that decide its activity and its options.
        """
        return self.from_decisions(moves.decide(self._program, self._analysis.order, pick))

    def smallest(self, metric: str = "macs") -> Architecture:
        """Return an architecture of least cost (see `extreme`)."""
        return self.extreme(metric, largest=False)

    def largest(self, metric: str = "macs") -> Architecture:
        """Return an architecture of greatest cost (see `extreme`)."""
        return self.extreme(metric, largest=True)

    def extreme(self, metric: str = "macs", *, largest: bool, seed: int = 0) -> Architecture:
        """Return an architecture of extreme cost: coordinate descent from several starts.

        Exact where the cost is monotone in each choice, as in elastic spaces; else a local extreme.
        """
        cost, sign = self.cost(metric), -1.0 if largest else 1.0
        rng = np.random.default_rng(seed)
        starts = self.sample_batch(64, rng)
        starts = starts[np.argsort(sign * cost.batch(starts))[:2]]
        ends = (moves.descend(self._program, row, lambda d: sign * self._at(cost, d)) for row in starts.tolist())
        return min(map(self.from_decisions, ends), key=lambda a: sign * cost(a))

    def _at(self, cost: AdditiveCost | WalkCost, decisions: Sequence[int]) -> float:
        return cost(Architecture(tuple(decisions), self.fingerprint))

    def restrict(self, options: Mapping[str, Iterable[Any]]) -> SearchSpace:
        """Return the sub-space in which each named choice keeps only the given options (labels or options).

        Choices, indices, node names and fingerprint stay, so architectures and weights serve unchanged.

        Raises:
            ArchitectureError: an unknown choice or option.
            SpaceError: a choice that is left without an option, or with options no chain can pass.
        """
        allowed = consistent(self._analysis, self._naming.kept(self._allowed, options))
        child = object.__new__(SearchSpace)
        child.name, child.sampling, child._analysis = self.name, self.sampling, self._analysis
        child._allowed, child.parent = tuple(allowed), self
        return child

    # Readings

    def lower(self, architecture: Architecture, mixed: Mapping[int, tuple[int, ...]] | None = None) -> Lowered:
        """Return the pruned graph of an architecture, see `nasforge.space.lower`."""
        return lower(self._analysis.graph, architecture.decisions, mixed) if mixed else self._lowered(architecture)

    @cached_property
    def _lowered(self) -> Callable[[Architecture], Lowered]:
        return functools.lru_cache(maxsize=512)(lambda a: lower(self._analysis.graph, self.validated(a).decisions))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the caches behind when copied or sent to another process."""
        kept = ("name", "sampling", "_analysis", "_allowed", "parent")
        return {key: value for key, value in self.__dict__.items() if key in kept}

    def network_id(self, architecture: Architecture) -> str:
        """Hash of the network that the architecture computes when trained alone."""
        return self.lower(architecture).network_id

    @cached_property
    def _variants(self) -> NodeVariants | None:
        if self.parent is not None:
            return self.parent._variants
        try:
            return node_variants(self._analysis)
        except TableTooLargeError:
            return None

    def additive(self, metric: str, cost: NodeCost) -> AdditiveCost | WalkCost:
        """Return the sum of `cost(operator, input types)` over the lowered nodes, for any architecture."""
        if self._variants is not None:
            return additive_cost(metric, self._variants, cost, self.sizes)
        graph = self._analysis.graph
        return WalkCost(
            metric,
            lambda a: sum(cost(node.op, node.input_types) for node in lower(graph, a.decisions).nodes),
            self.fingerprint,
        )

    @cached_property
    def repeats(self) -> Repeats | None:
        """What architectures spare of the sum over nodes; None where none of 2,048 random ones spares anything."""
        if self._variants is None:
            return None
        found = Repeats(self._analysis.graph, self._variants, tuple(self.sizes))
        rows = self.sample_batch(2048, np.random.default_rng(0)) if found.possible else None
        return found if rows is not None and found.batch(rows, lambda op, types: 1.0).any() else None

    @cached_property
    def _costs(self) -> dict[str, AdditiveCost | WalkCost]:
        return {} if self.parent is None else self.parent._costs

    def cost(self, metric: str) -> AdditiveCost | WalkCost:
        """Return the model of `params`, `macs`, `activation_bytes` (float32, one image) or `bitops`."""
        if metric not in METRICS:
            raise SpaceError(unknown_name_sentence("cost", metric, METRICS))
        if metric not in self._costs:
            self._costs[metric] = self.additive(metric, lambda op, types: getattr(op, metric)(types))
        return self._costs[metric]

    def params(self, architecture: Architecture) -> int:
        """Return the number of trainable parameters of an architecture."""
        return int(self.cost("params")(architecture))

    def macs(self, architecture: Architecture) -> int:
        """Return the multiply-accumulates of an architecture for one image."""
        return int(self.cost("macs")(architecture))

    def node_variants(self) -> dict[str, Lowered]:
        """Return, by latency key, each block that some architecture runs, as a graph of its own."""
        found: dict[str, Lowered] = {}
        if self._variants is None:
            for graph in (self.lower(self.sample(np.random.default_rng(seed))) for seed in range(200)):
                found.update({node.key: graph.single(i) for i, node in enumerate(graph.nodes) if node.inputs})
            return found
        for op, types in self._variants.variants:
            if types and not op.is_zero:
                found.setdefault(op.key(types), alone(op, types))
        return found

    def one_hot(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float32]:
        """Encode architectures one-hot, shape (n, total options); inactive choices are all zeros."""
        return encode.one_hot(self.integers(architectures), self.sizes)

    def integers(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.int16]:
        """Encode architectures as option indices, shape (n, choices), -1 where inactive."""
        return np.asarray([a.decisions for a in architectures], dtype=np.int16).reshape(
            len(architectures), len(self.choices)
        )

    def adjacency(self, architecture: Architecture) -> tuple[npt.NDArray[np.int8], list[str]]:
        """Encode the lowered graph as an adjacency matrix and one operator key per node."""
        return encode.adjacency(self.lower(architecture))

    def enumerate(self) -> Iterator[Architecture]:
        """Yield every architecture once (small spaces)."""
        for decisions in moves.everything(self._program, self._analysis.order):
            yield Architecture(decisions, self.fingerprint)

    def __repr__(self) -> str:
        return f"SearchSpace('{self.name}', {len(self.choices)} choices, fingerprint {self.fingerprint})"
