"""Ensembles of K paths as genes: the split point, and for every layer the operators of the K paths.

An architecture holds one operator for a shared layer. Genes hold it K times, so that layers may change sides: a shared
layer that is split copies its operator to all paths, a split layer that is shared keeps that of one path. Written as
an architecture, the paths agree on the shared layers by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import IncompatibleError
from nasforge.space import Architecture, SearchSpace
from nasforge.space.node import BoundaryOp
from nasforge.space.paths import SPLIT, TRUNK, choice_name, path_name, shared_boundary

Alive = npt.NDArray[np.bool_]
"""(layers, options): which operators of each layer may be used."""
NONE: Final = -1


@final
@dataclass(frozen=True, eq=False)
class Genes:
    """An ensemble, spread out.

    Attributes:
        split: number of shared layers.
        operators: option of each layer of each path, (layers, K); rows of shared layers hold one option K times.
    """

    split: int
    operators: npt.NDArray[np.int64]


@final
@dataclass(frozen=True)
class EnsembleSpace:
    """A space declared by `nasforge.space.paths.split_paths`, as its decisions lie.

    Attributes:
        space: the space, maybe restricted.
        layers: L, searchable layers.
        paths: K.
        places: number of the choice of each layer (row) in the trunk (column 0) and the paths, (L, K + 1); -1 for none.
        split: number of the choice of the split; -1 where all layers are shared.
    """

    space: SearchSpace
    layers: int
    paths: int
    places: npt.NDArray[np.int64]
    split: int

    @classmethod
    def of(cls, space: SearchSpace, strategy: str) -> EnsembleSpace:
        """Read a space.

        Raises:
            IncompatibleError: it is not made of paths that share a trunk, or decides something else too.
        """
        number = {str(read.name): index for index, read in enumerate(space.choices)}
        cuts = {node.op.boundary for node in space.analysis.graph.nodes if isinstance(node.op, BoundaryOp)}
        paths = max(len(nodes) for nodes in space.analysis.graph.outputs.values())
        layers = 0
        while choice_name(TRUNK, layers + 1) in number and shared_boundary(layers + 1) in cuts:
            layers += 1
        where = [TRUNK, *(path_name(path) for path in range(paths))]
        rows = [[number.get(choice_name(side, n + 1), NONE) for side in where] for n in range(layers)]
        known = {number.get(SPLIT, NONE), *(place for row in rows for place in row)}
        odd = [read for read, index in number.items() if index not in known]
        if not layers or odd or shared_boundary(0) not in cuts:
            why = f"choice '{odd[0]}' is of no layer" if odd else "it has no shared layers to choose"
            raise IncompatibleError(
                f"strategy '{strategy}' cannot search space '{space.name}': it searches paths that split behind shared "
                f"layers (nasforge.space.paths), and {why}; take another strategy."
            )
        return cls(space, layers, paths, np.asarray(rows), number.get(SPLIT, NONE))

    @cached_property
    def options(self) -> int:
        """Number of operators of the layer that has most."""
        return max(len(self.space.choices[row[0]].options) for row in self.places)

    @cached_property
    def splits(self) -> tuple[int, ...]:
        """Numbers of layers that may be shared."""
        if self.split == NONE:
            return (self.layers,)
        return tuple(self.space.choices[self.split].options[option] for option in self.space.allowed[self.split])

    @cached_property
    def allowed(self) -> Alive:
        """The operators that every side of a layer may use, (layers, options).

        Raises:
            IncompatibleError: some layer has none in common.
        """
        found = np.zeros((self.layers, self.options), dtype=bool)
        for layer, row in enumerate(self.places):
            common = set.intersection(*(set(self.space.allowed[place]) for place in row if place != NONE))
            if not common:
                raise IncompatibleError(
                    f"space '{self.space.name}' leaves trunk and paths no operator in common in layer {layer + 1}; "
                    "restrict all of them to the same options."
                )
            found[layer, sorted(common)] = True
        return found

    def restricted(self, alive: Alive) -> SearchSpace:
        """Return the sub-space in which only operators that are alive are used, in trunk and paths.

        Raises:
            IncompatibleError: the space no longer contains an operator that is alive in some layer, or any of them.
        """
        lost = np.argwhere(alive & ~self.allowed)
        if len(lost):
            layer, option = (int(each) for each in lost[0])
            label = self.space.choices[self.places[layer, 0]].labels[option]
            raise IncompatibleError(
                f"operator '{label}' of layer {layer + 1} was trained, and space '{self.space.name}' as restricted no "
                "longer contains it; allow it, or train anew."
            )
        kept: dict[str, list[str]] = {}
        for layer, row in enumerate(self.places):
            for read in (self.space.choices[place] for place in row if place != NONE):
                kept[str(read.name)] = [read.labels[option] for option in np.flatnonzero(alive[layer])]
        return self.space.restrict(kept)

    # Genes

    def read(self, architecture: Architecture) -> Genes:
        """Return the genes of an architecture."""
        row = architecture.decisions
        split = self.layers if self.split == NONE else int(self.space.choices[self.split].options[row[self.split]])
        shared = [[row[self.places[layer, 0]]] * self.paths for layer in range(split)]
        own = [[row[place] for place in self.places[layer, 1:]] for layer in range(split, self.layers)]
        return Genes(split, np.asarray(shared + own, dtype=np.int64).reshape(self.layers, self.paths))

    def write(self, genes: Genes) -> Architecture:
        """Return the architecture of genes; the first path's operators are those of shared layers."""
        row = [NONE] * len(self.space.choices)
        if self.split != NONE:
            row[self.split] = self.space.choices[self.split].options.index(genes.split)
        for layer in range(self.layers):
            if layer < genes.split:
                row[self.places[layer, 0]] = int(genes.operators[layer, 0])
                continue
            for place, option in zip(self.places[layer, 1:], genes.operators[layer], strict=True):
                row[place] = int(option)
        return self.space.validated(self.space.from_decisions(row))

    def crossover(self, first: Genes, second: Genes, rng: np.random.Generator) -> Genes:
        """Take the split, and the operators of each layer, from either parent; then share what is shared."""
        split = (first, second)[int(rng.integers(2))].split
        taken = rng.integers(2, size=self.layers).astype(bool)
        return self._shared(split, np.where(taken[:, None], first.operators, second.operators), rng)

    def mutate(self, genes: Genes, chance: float, alive: Alive, rng: np.random.Generator) -> Genes:
        """Draw the split and each operator anew with a chance each.

        Args:
            genes: of the parent.
            chance: of each gene, 0.1 in single-path one-shot search.
            alive: operators to draw from.
            rng: draws.
        """
        operators, split = genes.operators.copy(), genes.split
        for layer in range(self.layers):
            genes_here = 1 if layer < split else self.paths
            for path in np.flatnonzero(rng.random(genes_here) < chance):
                drawn = int(rng.choice(np.flatnonzero(alive[layer])))
                operators[layer, slice(None) if layer < split else path] = drawn
        if rng.random() < chance:
            split = int(rng.choice(self.splits))
        return self._shared(split, operators, rng)

    def _shared(self, split: int, operators: npt.NDArray[np.int64], rng: np.random.Generator) -> Genes:
        """Return genes in which the shared layers hold the operator of one path, drawn for each layer."""
        found = operators.copy()
        picked = rng.integers(self.paths, size=self.layers)
        for layer in range(split):
            found[layer] = operators[layer, picked[layer]]
        return Genes(split, found)

    def shared_throughout(self, operators: Sequence[int]) -> Architecture:
        """Return the architecture of the root space that shares all layers, with an operator each."""
        space = root_of(self.space)
        row = [NONE] * len(space.choices)
        for layer, option in enumerate(operators):
            row[self.places[layer, 0]] = int(option)
        if self.split != NONE:
            row[self.split] = space.choices[self.split].options.index(self.layers)
        return space.from_decisions(row)


def root_of(space: SearchSpace) -> SearchSpace:
    """Return the space that was restricted."""
    while space.parent is not None:
        space = space.parent
    return space


def labels_of(ensemble: EnsembleSpace, alive: Alive) -> Mapping[int, list[str]]:
    """Return by layer, from 1, the labels of the operators alive."""
    return {
        layer + 1: [ensemble.space.choices[row[0]].labels[option] for option in np.flatnonzero(alive[layer])]
        for layer, row in enumerate(ensemble.places)
    }
