"""How long a latency profile takes, how fast it predicts, and how well it agrees with networks measured afterwards.

    python benchmarks/latency_predictor.py [--quick]

A profile is built for `mbconv` (small) at 32 pixels in an empty cache, for `cpu` and `int8`. A fresh process then
reads it and measures networks that no profile has seen, by the protocol of finalists. Shares within 5 and 10 %, root
mean squared relative error, and Spearman beside that of MACs and params.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import record
from scipy import stats

from nasforge.hardware.predictor import agreement
from nasforge.run.options import make_space, make_target
from nasforge.space import SearchSpace
from nasforge.targets.blocks import write_network

TARGETS = ("cpu", "int8")
SEED = 1234
BATCH = 20_000


def space_of() -> SearchSpace:
    return make_space("mbconv", {"preset": "small"}, (3, 32, 32), 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="cpu alone, six networks")
    parser.add_argument("--held-out", default="", help=argparse.SUPPRESS)
    parser.add_argument("--networks", type=int, default=40)
    given = parser.parse_args()
    if given.held_out:
        sys.stdout.write(json.dumps(held_out(given.held_out, given.networks)))
        return
    rows, details = [], {"space": "mbconv small, 3x32x32", "networks": 6 if given.quick else given.networks}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NASFORGE_CACHE"] = cache
        for target in TARGETS[: 1 if given.quick else None]:
            begun = time.perf_counter()
            predictor = make_target(target, {}).predictor(space_of())
            seconds = time.perf_counter() - begun
            found = json.loads(fresh_process(target, details["networks"]))
            figures = [found[key] for key in ("within_5_percent", "within_10_percent", "rmspe", "spearman")]
            rows.append([target, seconds, found["rate"], *figures, found["macs"], found["params"]])
            details[target] = {**found, "source": predictor.source, "profile_validation": dict(predictor.validated)}
    header = [
        "target", "profile seconds", "predictions/s", "within 5 %", "within 10 %", "RMSPE", "Spearman",
        "Spearman of MACs", "Spearman of params",
    ]  # fmt: skip
    record("latency_predictor_quick" if given.quick else "latency_predictor", header, rows, details)


def fresh_process(target: str, networks: int) -> str:
    command = [sys.executable, str(Path(__file__)), "--held-out", target, "--networks", str(networks)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def held_out(target_name: str, count: int) -> dict:
    """Measure networks in this process and compare them with the cached profile's predictions."""
    space, target = space_of(), make_target(target_name, {})
    predictor = target.predictor(space)
    rng = np.random.default_rng(SEED)
    networks = [space.sample(rng) for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        files = [write_network(space.lower(each), Path(folder) / f"{i}.onnx") for i, each in enumerate(networks)]
        measured = target.measure_many(files)
    truth = [each.latency_ms for each in measured]
    predicted = [predictor.cost(each) for each in networks]
    rows = space.sample_batch(BATCH, rng)
    begun = time.perf_counter()
    predictor.cost.batch(rows)
    rate = BATCH / (time.perf_counter() - begun)
    ranks = {
        metric: float(stats.spearmanr([space.cost(metric)(each) for each in networks], truth).statistic)
        for metric in ("macs", "params")
    }
    return {
        **agreement(predicted, truth), **ranks, "rate": rate, "predicted_ms": predicted, "measured_ms": truth,
        "spread": [each.spread for each in measured], "noise": measured[0].noise,
    }  # fmt: skip


if __name__ == "__main__":
    main()
