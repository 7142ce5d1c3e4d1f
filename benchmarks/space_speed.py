"""Samples, mutations and MACs of architectures per second, one by one and in batches, with PyGlove beside.

Rounds are interleaved, so that a slow minute of the machine falls on all; figures are medians over rounds, ratios are
medians of the ratios within a round. Seconds are those of the processor, so that other processes on a shared machine
cost their share of caches only. PyGlove (`pip install pyglove`) declares the same decisions and counts no MACs;
its sample is a `random_dna`, its mutation that of `evolution.mutators.Uniform`, neither decoded to a value.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from record import record

from nasforge import registry
from nasforge.space import SearchSpace

TARGETS = {"nb201": (100_000, 1_000_000), "mbconv_elastic": (50_000, 500_000)}
"""At least so many a second: one by one, in batches."""
PYGLOVE_DRAWS = {"nb201": 50, "mbconv_elastic": 5}
"""How many a round; it is slow enough that few are timed well."""
Measurement = Callable[[int], float]
"""Do something so many times, return the seconds."""


def timed(work: Callable[[], Any]) -> float:
    """Return the processor's seconds that a call takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def ours(space: SearchSpace) -> dict[tuple[str, str], Measurement]:
    """Return the six measurements of a space by (what, how)."""
    rng, cost = np.random.default_rng(0), space.cost("macs")
    singles = [space.sample(rng) for _ in range(1000)]
    rows = space.sample_batch(100_000, rng)

    def repeated(step: Callable[[Any], Any]) -> Measurement:
        def run(count: int) -> float:
            work = [singles[i % len(singles)] for i in range(count)]
            return timed(lambda: [step(architecture) for architecture in work])

        return run

    def batched(step: Callable[[Any], Any]) -> Measurement:
        return lambda count: timed(lambda: [step(rows) for _ in range(count // len(rows))])

    return {
        ("samples", "one by one"): repeated(lambda _: space.sample(rng)),
        ("mutations", "one by one"): repeated(lambda architecture: space.mutate(architecture, rng)),
        ("MACs", "one by one"): repeated(cost),
        ("samples", "batches"): batched(lambda batch: space.sample_batch(len(batch), rng)),
        ("mutations", "batches"): batched(lambda batch: space.mutate_batch(batch, rng)),
        ("MACs", "batches"): batched(cost.batch),
    }


def pyglove_space(space: SearchSpace) -> Any:
    """Return the same decisions as a PyGlove value: those of skipped layers sit in the options of their depth."""
    import pyglove as pg

    own: dict[str, Any] = {str(read.name): list(read.labels) for read in space.choices}
    depths = [name for name in own if name.endswith(".depth")]
    value: dict[str, Any] = {}
    for name in depths:
        stage = name.removesuffix(".depth")
        layers = {other: labels for other, labels in own.items() if other.startswith(f"{stage}b")}
        nested = [
            pg.Dict(
                {
                    other.replace(".", "_"): pg.oneof(labels)
                    for other, labels in layers.items()
                    if int(other.removeprefix(f"{stage}b").split(".")[0]) <= int(label)
                }
            )
            for label in own[name]
        ]
        value[name.replace(".", "_")] = pg.oneof(nested)
        own = {other: labels for other, labels in own.items() if other != name and other not in layers}
    for number, labels in enumerate(own.values()):
        value[f"c{number}"] = pg.oneof(labels)
    return pg.Dict(value)


def pyglove(space: SearchSpace) -> dict[tuple[str, str], Measurement]:
    """Return PyGlove's two measurements of the same decisions."""
    import pyglove as pg
    from pyglove.ext.evolution.mutators import Uniform

    specification, draw = pg.dna_spec(pyglove_space(space)), random.Random(0)
    assert specification.space_size == space.size, "PyGlove's declaration is another space"
    mutator = Uniform(seed=0)
    parents = [pg.random_dna(specification, draw) for _ in range(50)]
    return {
        ("samples", "PyGlove"): lambda n: timed(lambda: [pg.random_dna(specification, draw) for _ in range(n)]),
        ("mutations", "PyGlove"): lambda n: timed(lambda: [mutator.mutate(parents[i % 50]) for i in range(n)]),
    }


def rates(name: str, rounds: int, scale: int) -> dict[tuple[str, str], list[float]]:
    """Return the rates a second of every round."""
    space = registry.load("spaces", name)()
    measurements = ours(space)
    if importlib.util.find_spec("pyglove") is not None:
        measurements |= pyglove(space)
    counts = {"one by one": 10_000 * scale, "batches": 200_000 * scale, "PyGlove": PYGLOVE_DRAWS[name] * scale}
    found: dict[tuple[str, str], list[float]] = {key: [] for key in measurements}
    for number in range(rounds + 1):
        for key, measure in measurements.items():
            rate = counts[key[1]] / measure(counts[key[1]])
            if number:  # the first round warms up
                found[key].append(rate)
    return found


def table_rows(name: str, found: dict[tuple[str, str], list[float]]) -> list[list[Any]]:
    """Return the rows of a space: medians, spread, ratios to PyGlove, and whether the target is met."""
    rows = []
    for (what, how), values in found.items():
        if how == "PyGlove":
            continue
        target, middle = TARGETS[name][how == "batches"], statistics.median(values)
        peer = found.get((what, "PyGlove"))
        ratio = statistics.median(a / b for a, b in zip(values, peer, strict=True)) if peer else "-"
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        beside = round(statistics.median(peer)) if peer else "-"
        rows.append(
            [name, what, how, round(middle), spread, target, beside, ratio, "yes" if middle >= target else "no"]
        )
    return rows


def main() -> int:
    """Measure, print, record; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two short rounds, nothing recorded as a result")
    quick = parser.parse_args().quick
    if importlib.util.find_spec("pyglove") is None:
        print("PyGlove is not installed, so nothing is measured beside; `pip install pyglove` brings it.")
    found = {name: rates(name, 2 if quick else 9, 1 if quick else 3) for name in TARGETS}
    rows = [row for name in TARGETS for row in table_rows(name, found[name])]
    details = {
        "rates_per_round": {
            f"{name}, {what}, {how}": [round(value) for value in values]
            for name, kinds in found.items()
            for (what, how), values in kinds.items()
        }
    }
    header = ["space", "what", "how", "per_second", "spread", "at_least", "pyglove", "ratio", "met"]
    record("space_speed_quick" if quick else "space_speed", header, rows, details)
    return 0 if all(row[-1] == "yes" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
