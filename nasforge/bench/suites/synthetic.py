"""Suite `synthetic`: a small space with a made table, for machines that have no benchmark at hand.

The value of an architecture is what its operations are worth and how they go together, so neither a model of the
single choices nor a blind search finds the best; all 15,625 values are written down, so the best is known.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

from nasforge.bench.suites.suite import LATENCY, Suite
from nasforge.evaluate.tabular import TabularEvaluator, Value
from nasforge.ops import Conv, GlobalPool, Identity, Linear, Pool
from nasforge.rng import generator
from nasforge.space import Input, SearchSpace, one_of

LAYERS: Final = 6
OPERATIONS: Final = ("skip", "pool", "conv1", "conv3", "conv5")
WORTH: Final = (0.0, 0.2, 0.5, 1.0, 0.9)
MS: Final = (0.1, 0.4, 0.8, 2.0, 4.0)
WORST: Final = 0.50
BEST: Final = 0.95
NOISE: Final = {27.0: 0.01, 9.0: 0.02, 3.0: 0.04}
"""Standard deviation of the feedback by epochs."""
BIAS: Final = {27.0: 0.0, 9.0: 0.03, 3.0: 0.08}
SEEDS: Final = 3
SECONDS_PER_MS: Final = 5.0


def synthetic(seed: int = 0) -> Suite:
    """Return a made space of 15,625 architectures, of which the best is known.

    Metrics are `accuracy`, `accuracy_valid` (one of three noisy looks at it, by the evaluation's seed), `latency_ms`,
    and `train_seconds`, at fidelities of 3, 9 and 27 epochs, of which the shorter are noisier and biased.

    Args:
        seed: of what operations are worth together, and of the noise.
    """
    space = synthetic_space()
    rows = np.asarray(list(itertools.product(range(len(OPERATIONS)), repeat=LAYERS)))
    truth, latency = _truth(rows, seed), np.asarray(MS)[rows].sum(axis=1)
    keys = list(map(tuple, rows.tolist()))
    tables = {}
    for epochs, deviation in NOISE.items():
        noise = deviation * generator(seed, "noise", int(epochs)).standard_normal((len(rows), SEEDS))
        reached = truth - BIAS[epochs] * (latency / latency.max())
        heard = np.clip(reached[:, None] + noise, 0.0, 1.0).tolist()
        seconds = (epochs * SECONDS_PER_MS * (1 + latency)).tolist()
        columns = zip(keys, map(tuple, heard), truth.tolist(), latency.tolist(), seconds, strict=True)
        tables[epochs] = {key: _row(*metrics) for key, *metrics in columns}
    return Suite("synthetic", TabularEvaluator(space, tables[max(tables)], tables), device="a made-up device")


def _row(heard: Value, truth: Value, latency: Value, seconds: Value) -> dict[str, Value]:
    return {"accuracy_valid": heard, "accuracy": truth, LATENCY: latency, "train_seconds": seconds}


def synthetic_space() -> SearchSpace:
    """Declare six layers of five operations each."""
    x = Conv(8, 3)(Input(3, 8, 8), name="stem")
    for place in range(LAYERS):
        candidates = [
            Identity()(x, name=f"l{place}.skip"),
            Pool("avg", 3)(x, name=f"l{place}.pool"),
            *(Conv(8, kernel)(x, name=f"l{place}.conv{kernel}") for kernel in (1, 3, 5)),
        ]
        x = one_of(candidates, name=f"l{place}", labels=OPERATIONS)
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name="synthetic")


def _truth(rows: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """Return the truth of rows of decisions: worth of operations, and of neighbours together, from WORST to BEST."""
    together = generator(seed, "together").standard_normal((LAYERS - 1, len(OPERATIONS), len(OPERATIONS)))
    raw = np.asarray(WORTH)[rows].sum(axis=1)
    for place in range(LAYERS - 1):
        raw = raw + 0.35 * together[place, rows[:, place], rows[:, place + 1]]
    share = (raw - raw.min()) / (raw.max() - raw.min())
    truth: npt.NDArray[np.float64] = WORST + (BEST - WORST) * (1 - (1 - share) ** 2)
    return truth
