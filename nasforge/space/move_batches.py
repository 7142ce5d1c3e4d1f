"""Sampling and mutation of many architectures at once, column by column: the laws of `moves`, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nasforge.space.moves import Gate, Link, Program, decided_order, mutate


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
    for index in decided_order(program):
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
