"""Sampling, mutation, crossover, neighbours and repair: pure functions of (program, decisions, generator).

A `Program` is a space laid out for speed: choices that are always active need no test, a mutation that
steers nothing needs no repair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    for index in _order(program):
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


def _order(program: Program) -> list[int]:
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


@final
class _First:
    """Stands for a generator that always draws the first option."""

    def random(self) -> float:
        """Return 0."""
        return 0.0


def sample_batch(program: Program, n: int, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Draw `n` rows of decisions at once, shape (n, choices)."""
    rows = np.empty((len(program.counts), n), dtype=np.int16)
    for index, options in enumerate(program.allowed):
        drawn = rng.integers(len(options), size=n, dtype=np.uint16)
        rows[index] = drawn if program.plain else np.asarray(options, dtype=np.int16)[drawn]
    links = {link.choice: link for link in program.links}
    gates = {gate.choice: gate for gate in program.gates}
    if not links:
        for gate, choices in program.closing:
            closed = _closed(rows, gate)
            for index in choices:
                rows[index][closed] = -1
        return rows.T
    for index in _order(program):
        if index in links:
            _relink(rows, links[index], rng)
        if index in gates:
            rows[index][_closed(rows, gates[index])] = -1
    return rows.T


def _closed(rows: npt.NDArray[np.int16], gate: Gate) -> npt.NDArray[np.bool_]:
    """Return for which columns of `rows`, (choices, n), the gate is closed."""
    place: Any = np.zeros(rows.shape[1], dtype=np.intp)
    for axis, stride in gate.reads:
        place += np.maximum(rows[axis], 0).astype(np.intp) * stride
    closed = ~np.asarray(gate.active, dtype=bool)
    return np.asarray(closed[place])


def _relink(rows: npt.NDArray[np.int16], link: Link, rng: np.random.Generator) -> None:
    width = max(len(options) for options in link.options)
    padded = np.asarray([[*options, *[0] * (width - len(options))] for options in link.options], dtype=np.int16)
    counts = np.asarray([len(options) for options in link.options])
    previous = rows[link.previous]
    before = np.maximum(previous, 0)
    drawn = padded[before, (rng.random(len(previous)) * counts[before]).astype(np.intp)]
    rows[link.choice] = np.where(previous >= 0, drawn, rows[link.choice])


def mutate_batch(program: Program, decisions: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Mutate each row once: one active decision takes another option, what follows is repaired."""
    rows = np.array(decisions, dtype=np.int16)
    free = np.asarray(program.free, dtype=np.intp)
    if program.links or not program.plain:
        for number, row in enumerate(rows.tolist()):
            rows[number] = mutate(program, row, rng) or row
        return rows
    if not len(free):
        return rows
    counts = np.asarray(program.counts)
    places = np.arange(len(rows))
    picked = _picked(program, rows, free, rng)
    old = rows[places, picked]
    new = (rng.random(len(rows)) * (counts[picked] - 1)).astype(np.int16)
    rows[places, picked] = new + (new >= old)
    if program.gates:
        upset = np.isin(picked, list(program.steering))
        rows[upset] = _reopened(program, np.ascontiguousarray(rows[upset].T), rng).T
    return rows


def _picked(
    program: Program, rows: npt.NDArray[np.int16], free: npt.NDArray[np.intp], rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Return for each row one of its active free choices, each equally likely."""
    picked = free[rng.integers(len(free), size=len(rows))]
    if {gate.choice for gate in program.gates}.issuperset(program.free):  # a row may have no active one at all
        keys = np.where(rows[:, free] < 0, -1.0, rng.random((len(rows), len(free))))
        return np.asarray(free[keys.argmax(axis=1)])
    again = np.flatnonzero(rows[np.arange(len(rows)), picked] < 0) if program.gates else free[:0]
    while len(again):
        picked[again] = free[rng.integers(len(free), size=len(again))]
        again = again[rows[again, picked[again]] < 0]
    return picked


def _reopened(program: Program, rows: npt.NDArray[np.int16], rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Draw what became active, drop what became inactive; `rows` are (choices, n)."""
    for gate, choices in program.closing:
        closed = _closed(rows, gate)
        for index in choices:
            missing = np.flatnonzero((rows[index] < 0) & ~closed)
            rows[index][missing] = rng.integers(program.counts[index], size=len(missing), dtype=np.uint16)
            rows[index][closed] = -1
    return rows
