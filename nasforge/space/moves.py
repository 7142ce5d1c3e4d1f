"""Sampling, mutation, crossover, neighbours and repair: pure functions of (program, decisions, generator).

A `Program` is a space laid out for speed: choices that are always active need no test, a mutation that
steers nothing needs no repair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from nasforge.space.analysis import Analysis
from nasforge.space.table import Table

Decisions = list[int]


@final
@dataclass(frozen=True, slots=True)
class Gate:
    """When a conditional choice is active: `active[sum(option * stride)]` over the choices that decide it."""

    choice: int
    reads: tuple[tuple[int, int], ...]
    active: tuple[bool, ...]
    table: Table


@final
@dataclass(frozen=True, slots=True)
class Link:
    """A relation to an earlier choice: `options[earlier]` are the allowed own options."""

    choice: int
    previous: int
    options: tuple[tuple[int, ...], ...]


@final
@dataclass(frozen=True)
class Program:
    """A space laid out for moves; `allowed` are the options left by restriction."""

    allowed: tuple[tuple[int, ...], ...]
    gates: tuple[Gate, ...]
    closing: tuple[tuple[Gate, tuple[int, ...]], ...]
    """The gates, each once for all the choices that open and close together."""
    links: tuple[Link, ...]
    steering: frozenset[int]
    """Choices that decide another's activity or options."""
    free: tuple[int, ...]
    """Choices with more than one option left."""
    counts: tuple[int, ...]
    plain: bool
    """No restriction: options number from 0."""
    widths: npt.NDArray[np.float64] = field(repr=False, compare=False)
    """The counts as an array, to scale draws with."""


def compile_program(analysis: Analysis, allowed: Sequence[tuple[int, ...]]) -> Program:
    """Lay a space out for moves."""
    choices = analysis.graph.choices
    number = {read: index for index, read in enumerate(choices)}
    gates: list[Gate] = []
    links: list[Link] = []
    steering: set[int] = set()
    for index in analysis.order:
        table = analysis.active[index]
        if table.axes or not bool(table.values):
            strides = np.cumprod([1, *table.values.shape[:0:-1]])[::-1].tolist() if table.axes else []
            reads = tuple(zip(table.axes, strides, strict=True))
            gates.append(Gate(index, reads, tuple(map(bool, np.atleast_1d(table.values).reshape(-1))), table))
            steering.update(table.axes)
        relation = choices[index].relation
        if relation is not None:
            rows = tuple(tuple(o for o in allowed[index] if row[o]) for row in relation.allowed)
            links.append(Link(index, number[relation.previous], rows))
            steering.add(number[relation.previous])
    together: dict[tuple[Any, ...], list[Gate]] = {}
    for gate in gates:
        together.setdefault((gate.reads, gate.active), []).append(gate)
    return Program(
        tuple(allowed),
        tuple(gates),
        tuple((group[0], tuple(gate.choice for gate in group)) for group in together.values()),
        tuple(links),
        frozenset(steering),
        tuple(i for i, options in enumerate(allowed) if len(options) > 1),
        tuple(len(options) for options in allowed),
        all(options == tuple(range(len(choices[i].options))) for i, options in enumerate(allowed)),
        np.asarray([len(options) for options in allowed], dtype=np.float64),
    )


def is_active(gate: Gate, decisions: Sequence[int]) -> bool:
    """Say whether the gated choice is active under decisions of the choices before it."""
    place = 0
    for axis, stride in gate.reads:
        option = decisions[axis]
        if option > 0:
            place += option * stride
    return gate.active[place]


def sample(program: Program, rng: np.random.Generator) -> Decisions:
    """Draw each active choice uniformly from its options (the law `choices`)."""
    decisions: Decisions = (rng.random(len(program.counts)) * program.widths).astype(np.intp).tolist()
    if not program.plain:
        decisions = [options[place] for place, options in zip(decisions, program.allowed, strict=True)]
    if program.links:
        return settle(program, decisions, rng)
    close(program, decisions)
    return decisions


def close(program: Program, decisions: Decisions) -> None:
    """Take the option from every choice that is inactive."""
    for gate, choices in program.closing:
        place = 0
        for axis, stride in gate.reads:
            option = decisions[axis]
            if option > 0:
                place += option * stride
        if not gate.active[place]:
            for index in choices:
                decisions[index] = -1


def settle(program: Program, decisions: Decisions, rng: np.random.Generator) -> Decisions:
    """Make any decisions valid: drop inactive ones, draw missing, disallowed or unrelated ones."""
    gates = {gate.choice: gate for gate in program.gates}
    links = {link.choice: link for link in program.links}
    for index in decided_order(program):
        gate = gates.get(index)
        if gate is not None and not is_active(gate, decisions):
            decisions[index] = -1
            continue
        options = program.allowed[index]
        link = links.get(index)
        if link is not None and decisions[link.previous] >= 0:
            options = link.options[decisions[link.previous]]
        if decisions[index] not in options and options:
            decisions[index] = options[int(rng.random() * len(options))]
    return decisions


def decided_order(program: Program) -> list[int]:
    """Return always-active choices first, then gated and linked ones in the order of the analysis."""
    late = list(dict.fromkeys([*(g.choice for g in program.gates), *(link.choice for link in program.links)]))
    if program.links:
        return list(range(len(program.counts))) if not program.gates else _merged(program, late)
    taken = set(late)
    return [index for index in range(len(program.counts)) if index not in taken] + late


def _merged(program: Program, late: Sequence[int]) -> list[int]:
    """Order gated and linked choices so that each comes after what it reads."""
    needs: dict[int, set[int]] = {index: set() for index in range(len(program.counts))}
    for gate in program.gates:
        needs[gate.choice].update(axis for axis, _ in gate.reads)
    for link in program.links:
        needs[link.choice].add(link.previous)
    done: dict[int, None] = {}
    while len(done) < len(needs):
        done.update(dict.fromkeys(i for i, need in needs.items() if i not in done and need <= done.keys()))
    return list(done)


def permitted(program: Program, decisions: Sequence[int], index: int) -> tuple[int, ...]:
    """Return the options that restriction and the earlier choice leave to an active choice."""
    for link in program.links:
        if link.choice == index and decisions[link.previous] >= 0:
            return link.options[decisions[link.previous]]
    return program.allowed[index]


def first_fault(
    program: Program, order: Sequence[int], decisions: Sequence[int]
) -> tuple[int, tuple[int, ...] | None] | None:
    """Return the first choice that is decided wrongly, with the options it may take (None: it is inactive)."""
    gates = {gate.choice: gate for gate in program.gates}
    for index in order:
        if index in gates and not is_active(gates[index], decisions):
            if decisions[index] >= 0:
                return index, None
        elif decisions[index] not in (options := permitted(program, decisions, index)):
            return index, options
    return None


def mutate(program: Program, decisions: Sequence[int], rng: np.random.Generator) -> Decisions | None:
    """Change one active decision to another option and repair what follows; None where nothing can change."""
    if program.links:
        return _mutate_linked(program, decisions, rng)
    candidates = [index for index in program.free if decisions[index] >= 0]
    if not candidates:
        return None
    first, second = rng.random(2).tolist()
    index = candidates[int(first * len(candidates))]
    changed = list(decisions)
    options = program.allowed[index]
    old = changed[index]
    place = int(second * (len(options) - 1))
    new = options[place]
    if program.plain:
        new = place + (place >= old)
    elif old in options and place >= options.index(old):
        new = options[place + 1]
    changed[index] = new
    return settle(program, changed, rng) if index in program.steering else changed


def _mutate_linked(program: Program, decisions: Sequence[int], rng: np.random.Generator) -> Decisions | None:
    """Mutate where choices constrain others: only to an option that the earlier choice permits, so it stays."""
    options = {index: permitted(program, decisions, index) for index in program.free if decisions[index] >= 0}
    others = [(index, [o for o in own if o != decisions[index]]) for index, own in options.items()]
    candidates = [(index, own) for index, own in others if own]
    if not candidates:
        return None
    index, own = candidates[int(rng.random() * len(candidates))]
    changed = list(decisions)
    changed[index] = own[int(rng.random() * len(own))]
    return settle(program, changed, rng)


def crossover(program: Program, first: Sequence[int], second: Sequence[int], rng: np.random.Generator) -> Decisions:
    """Take each decision from either parent with equal chance (uniform crossover), then repair."""
    pick = (rng.random(len(first)) < 0.5).tolist()
    child = [a if left else b for a, b, left in zip(first, second, pick, strict=True)]
    return settle(program, child, rng) if program.gates or program.links or not program.plain else child


def neighbours(program: Program, decisions: Sequence[int]) -> Iterator[Decisions]:
    """Yield all decisions at one changed option; choices that must follow it take their first possible option."""
    for index in program.free:
        if decisions[index] < 0:
            continue
        for option in permitted(program, decisions, index):
            if option == decisions[index]:
                continue
            changed = list(decisions)
            changed[index] = option
            if index in program.steering:
                changed = settle(program, changed, _First())  # type: ignore[arg-type]  # only `random` is called
            yield changed


def descend(program: Program, start: Decisions, cost: Callable[[Decisions], float]) -> Decisions:
    """Go to the cheapest neighbour until none is cheaper."""
    current, least = start, cost(start)
    while True:
        best = min(neighbours(program, current), key=cost, default=current)
        if cost(best) >= least:
            return current
        current, least = best, cost(best)


def everything(program: Program, order: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the decisions of every architecture once, deciding choices in an order in which each can be decided."""
    gates = {gate.choice: gate for gate in program.gates}
    decisions = [-1] * len(order)

    def extend(place: int) -> Iterator[tuple[int, ...]]:
        if place == len(order):
            yield tuple(decisions)
            return
        index = order[place]
        closed = index in gates and not is_active(gates[index], decisions)
        for option in (-1,) if closed else permitted(program, decisions, index):
            decisions[index] = option
            yield from extend(place + 1)
        decisions[index] = -1

    yield from extend(0)


def decide(program: Program, order: Sequence[int], pick: Callable[[int, tuple[int, ...]], int]) -> Decisions:
    """Decide active choices one after another: `pick(choice, options)` says which of the options left is taken."""
    gates = {gate.choice: gate for gate in program.gates}
    decisions = [-1] * len(order)
    for index in order:
        if index in gates and not is_active(gates[index], decisions):
            continue
        decisions[index] = pick(index, permitted(program, decisions, index))
    return decisions


@final
class _First:
    """Stands for a generator that always draws the first option."""

    def random(self) -> float:
        """Return 0."""
        return 0.0
