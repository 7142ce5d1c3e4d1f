"""How well the analytic roofline ranks measured latencies of GPUs: NAS-Bench-201's cells on two cards (HELP's tables).

    NASFORGE_DATA=DIR python benchmarks/roofline_rank.py [--quick]

Spearman with the measured latency, beside that of MACs and params; "best other table" is the highest Spearman with
any other measured table (other batch sizes and devices). The tables were measured in PyTorch, layer by layer, with the
whole cell; nasforge prunes what reaches no output, so only cells are compared of which nothing is pruned.
"""

from __future__ import annotations

import argparse

import numpy as np
from record import record
from scipy import stats

from nasforge import registry
from nasforge.evaluate.published import data_file
from nasforge.hardware import roofline
from nasforge.hardware.cost import Cost
from nasforge.space import SearchSpace

CARDS = {"1080ti": "gtx1080ti", "2080ti": "rtx2080ti"}
BATCHES = (1, 32, 256)
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
NONE = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every 25th cell only")
    quick = parser.parse_args().quick
    step = 25 if quick else 1
    space = registry.load("spaces", "nb201")()
    with np.load(data_file("nb201/latency.npz"), allow_pickle=False) as file:
        measured = {name: file[name][::step] for name in file.files if file[name].shape == (15625,)}
    with np.load(data_file("nb201/nb201.npz"), allow_pickle=False) as file:
        ops, names = file["ops"][::step], [str(name) for name in file["ops_names"]]
    rows = np.asarray([space.choices[0].labels.index(name) for name in names])[ops].astype(np.int16)
    whole = np.asarray([nothing_is_dead(row) for row in rows])
    rows, measured = rows[whole], {name: values[whole] for name, values in measured.items()}
    counts = {metric: space.cost(metric).batch(rows) for metric in ("macs", "params")}
    table, details = [], {"cells": len(rows), "of": len(whole), "source": "latency tables of HELP"}
    for device, short in CARDS.items():
        for batch in BATCHES:
            truth = measured[f"{device}_{batch}"]
            guesses = [modelled(space, roofline.card(short), batch, fused).batch(rows) for fused in (False, True)]
            columns = [spearman(values, truth) for values in (*guesses, counts["macs"], counts["params"])]
            ceiling = max(spearman(truth, other) for other in measured.values() if other is not truth)
            ratio = float(np.median(guesses[0] / truth))
            table.append([roofline.card(short).name, batch, *columns, ceiling, ratio])
    header = ["card", "batch", "layer by layer", "fused", "macs", "params", "best other table", "predicted / measured"]
    record("roofline_rank_quick" if quick else "roofline_rank", header, table, details)


def modelled(space: SearchSpace, card: roofline.Card, batch: int, fused: bool) -> Cost:
    return space.additive("ms", lambda op, types: roofline.node_ms(card, op, types, batch, fused=fused))


def nothing_is_dead(row: np.ndarray) -> bool:
    """Say whether every operation of a cell lies on a path from its input to its output."""
    edges = [edge for edge, option in zip(EDGES, row.tolist(), strict=True) if option != NONE]
    reached, needed = {0}, {3}
    for node in (1, 2, 3):
        reached |= {to for to, source in edges if to == node and source in reached}
    for node in (3, 2, 1):
        needed |= {source for to, source in edges if to == node and to in needed}
    return bool(edges) and all(source in reached and to in needed for to, source in edges)


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    return float(stats.spearmanr(first, second).statistic)


if __name__ == "__main__":
    main()
