"""Enumerating a space by walking its declared graph: slow, obvious, and independent of the space's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nasforge.space import SearchSpace

Assignment = Mapping[int, int]


def brute_force(space: SearchSpace) -> set[tuple[int, ...]]:
    """Return the decisions of all architectures of a small space, -1 where a choice is inactive.

    The graph is walked backward from the outputs; whenever a live node reads a choice that has no option yet, every
    option is tried. Choices with conditions, and those that conditions read, are also tried at their first option,
    since that is what readers see while they are inactive.
    """
    return set(_extend(space, {}))


def _extend(space: SearchSpace, assigned: Assignment) -> Iterator[tuple[int, ...]]:
    missing = _first_missing(space, assigned)
    if missing is None:
        decisions = _decisions(space, assigned)
        if decisions is not None:
            yield decisions
        return
    for option in sorted({0, *space.allowed[missing]} if _conditional(space, missing) else space.allowed[missing]):
        yield from _extend(space, {**assigned, missing: option})


def _conditional(space: SearchSpace, choice: int) -> bool:
    conditions = [read.condition for read in space.choices if read.condition is not None]
    return space.choices[choice].condition is not None or any(space.choices[choice] in c.choices for c in conditions)


def _read_by_live(space: SearchSpace, assigned: Assignment) -> Iterator[int]:
    """Yield the choices that live nodes read, nearest to the outputs first, as far as the assignment decides."""
    graph = space.analysis.graph
    row = [assigned.get(choice, 0) for choice in range(len(space.choices))]
    stack, seen = list(graph.output_nodes), set[int]()
    while stack:
        node = graph.nodes[stack.pop()]
        if node.index in seen:
            continue
        seen.add(node.index)
        yield from node.choices
        if node.is_select:
            if any(choice not in assigned for choice in node.choices):
                return
            stack.append(node.selected(row))
        else:
            stack.extend(node.inputs)


def _first_missing(space: SearchSpace, assigned: Assignment) -> int | None:
    number = {read: index for index, read in enumerate(space.choices)}
    for choice in _read_by_live(space, assigned):
        waiting = [choice]
        while waiting:
            wanted = waiting.pop()
            if wanted not in assigned:
                return wanted
            condition = space.choices[wanted].condition
            if condition is not None:
                waiting.extend(number[other] for other in condition.choices)
    return None


def _decisions(space: SearchSpace, assigned: Assignment) -> tuple[int, ...] | None:
    """Return the decisions of a complete assignment, None if it is not the canonical one of an architecture."""
    number = {read: index for index, read in enumerate(space.choices)}
    read = set(_read_by_live(space, assigned))

    def active(choice: int) -> bool:
        condition = space.choices[choice].condition
        if choice not in read or condition is None:
            return choice in read
        others = [number[other] for other in condition.choices]
        return tuple(assigned[other] for other in others) in condition.holds and all(map(active, others))

    on = {choice for choice in assigned if active(choice)}
    for choice, option in assigned.items():
        if option not in (space.allowed[choice] if choice in on else (0,)):
            return None
        relation = space.choices[choice].relation
        if choice not in on or relation is None or (before := number[relation.previous]) not in on:
            continue
        if not relation.allowed[assigned[before]][option]:
            return None
    return tuple(assigned[choice] if choice in on else -1 for choice in range(len(space.choices)))
