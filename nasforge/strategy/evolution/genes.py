"""Decisions that are varied together: an operation with the state that it reads, where a space has such pairs.

Which choice of input belongs to which choice of operator follows from the graph, not from names: the candidates of the
operator read what the input choice selects. All other choices are genes alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from nasforge.space import Architecture, SearchSpace

Gene = tuple[int, ...]
"""Choices, by index; of a pair the operator first."""


def genes(space: SearchSpace) -> tuple[Gene, ...]:
    """Return every choice of the space in one gene, in the order of their first choices."""
    nodes, kinds = space.analysis.graph.nodes, [read.kind for read in space.choices]
    chooser = {node.index: node.choices[0] for node in nodes if node.is_select and len(node.choices) == 1}
    pairs: dict[int, int] = {}
    for index, operator in chooser.items():
        if kinds[operator] != "operator" or operator in pairs:
            continue
        for source in (source for candidate in nodes[index].inputs for source in nodes[candidate].inputs):
            state = chooser.get(source)
            if state is not None and kinds[state] == "input" and state not in pairs.values():
                pairs[operator] = state
                break
    alone = set(range(len(kinds))) - pairs.keys() - set(pairs.values())
    return tuple(sorted([*pairs.items(), *((choice,) for choice in alone)], key=min))


def redraw(space: SearchSpace, found: Sequence[Gene], parent: Architecture, rng: np.random.Generator) -> Architecture:
    """Draw all decisions of one active gene anew; what was drawn may be what was there."""
    active = [gene for gene in found if all(parent.decisions[choice] >= 0 for choice in gene)]
    free = [gene for gene in active if any(len(space.allowed[choice]) > 1 for choice in gene)]
    if not free:
        return parent
    decisions = list(parent.decisions)
    for choice in free[int(rng.integers(len(free)))]:
        decisions[choice] = int(rng.choice(space.allowed[choice]))
    return space.repair(decisions, rng)


def exchange(
    space: SearchSpace, found: Sequence[Gene], parent: Architecture, rng: np.random.Generator, *, back: bool = True
) -> Architecture:
    """Give one gene what the next one of its kind has, by labels, and the next what it had.

    An option that the other choice does not offer, such as a state out of its reach, is drawn anew.

    Args:
        space: of the parent.
        found: its genes.
        parent: stays as it is, where no two genes in a row decide the same.
        rng: draws the gene, and what is missing.
        back: without, the next gene keeps what it had, so that it is copied.
    """
    rows = parent.decisions
    pairs = [pair for pair in itertools.pairwise(found) if _alike(space, *pair)]
    active = [(one, other) for one, other in pairs if all(rows[choice] >= 0 for choice in (*one, *other))]
    if not active:
        return parent
    first, second = active[int(rng.integers(len(active)))]
    decisions = list(rows)
    for one, other in zip(first, second, strict=True):
        decisions[one] = _moved(space, other, one, rows)
        if back:
            decisions[other] = _moved(space, one, other, rows)
    return space.repair(decisions, rng)


def _alike(space: SearchSpace, first: Gene, second: Gene) -> bool:
    """Say whether two genes decide the same kinds of thing, and some of the same options in each place."""
    choices = [(space.choices[one], space.choices[other]) for one, other in zip(first, second, strict=False)]
    return len(first) == len(second) and all(
        one.kind == other.kind and not set(one.labels).isdisjoint(other.labels) for one, other in choices
    )


def _moved(space: SearchSpace, source: int, target: int, decisions: Sequence[int]) -> int:
    """Return the target's option of the label that the source has; -1 where it offers none."""
    label, labels = space.choices[source].labels[decisions[source]], space.choices[target].labels
    option = labels.index(label) if label in labels else -1
    return option if option in space.allowed[target] else -1
