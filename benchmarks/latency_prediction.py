"""How well latency is predicted on this machine: profiles by the full protocol, held to times of another process.

    python benchmarks/latency_prediction.py [--targets cpu int8] [--cases mbconv:32 ...] [--ship] [--quick]

For each target, space and input size a profile is measured in an empty cache by `nasforge profile`'s function. Forty
networks that took no part in fitting are then timed by another process, by the protocol of finalists. Beside the
predictions stand the best straight lines over MACs and over params, fitted to those forty networks themselves. Run it
on an idle machine; it refuses to measure beside other work. `--ship` writes the profiles to hardware_profiles/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import record

from nasforge.hardware.predictor import intervals
from nasforge.hardware.profile import Profile
from nasforge.run.options import make_space, make_target
from nasforge.space import SearchSpace

TARGETS = ("cpu", "int8")
CASES = ("mbconv:32", "mbconv_elastic:32", "nb201:32", "mbconv:96", "mbconv_elastic:96")
SHIPPED = ("mbconv:32", "mbconv_elastic:32")
BATCH = 20_000
QUICK = {
    "visits": 2,
    "visit_ms": 2.0,
    "block_ms": 1.0,
    "pause_seconds": 0,
    "extra": 0,
    "gate": 99.0,
    "busy_cores": 99.0,
}
HEADER = [
    "target", "space", "seconds", "blocks", "of", "within 5 %", "within 10 %", "95 % from", "RMSPE", "Spearman",
    "MACs within 10 %", "Spearman of MACs", "predictions/s",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--cases", nargs="+", default=CASES, help="SPACE:SIZE of the input")
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--quick", action="store_true", help="cpu on nb201, two short visits")
    given = parser.parse_args()
    pairs = [("cpu", "nb201:16")] if given.quick else [(t, c) for c in given.cases for t in given.targets]
    rows, details = [], dict[str, Any]()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NASFORGE_CACHE"] = cache
        for target, case in pairs:
            name, _, size = case.partition(":")
            space = make_space(name, {"repeats": 1} if given.quick else {}, (3, int(size), int(size)), 10)
            device = make_target(target, {"protocol": QUICK} if given.quick else {})
            begun = time.perf_counter()
            path, profile = device.make_profile(space)
            seconds = time.perf_counter() - begun
            rows.append(row(target, case, seconds, space, profile, rate(device, space)))
            details[f"{target} {case}"] = {
                "validation": dict(profile.validation),
                "intervals": intervals(profile.validation),
                "baselines": dict(profile.baselines),
                "accepted": profile.noise["accepted"],
                "held_out": [[each["measured_ms"], each["predicted_ms"]] for each in profile.held_out],
            }
            sys.stderr.write(f"{rows[-1]}\n")
            if given.ship and case in SHIPPED:
                folder = Path(__file__).parent.parent / "hardware_profiles"
                shutil.copy(path, folder / f"{target}-{name}-{size}.json")
    record("latency_prediction_quick" if given.quick else "latency_prediction", HEADER, rows, details)


def row(target: str, case: str, seconds: float, space: SearchSpace, profile: Profile, rate: float) -> list[Any]:
    found, macs = profile.validation, profile.baselines["macs"]
    shares = [found["within_5_percent"], found["within_10_percent"], intervals(found)["within_10_percent"][0]]
    counts = [len(profile.entries), len(space.node_variants())]
    rest = [found["rmspe"], found["spearman"], macs["within_10_percent"], macs["spearman"], rate]
    return [target, case, seconds, *counts, *shares, *rest]


def rate(device: Any, space: SearchSpace) -> float:
    """Return predictions a second in a large batch."""
    cost = device.predictor(space).cost
    rows = space.sample_batch(BATCH, np.random.default_rng(0))
    cost.batch(rows[:8])
    begun = time.perf_counter()
    cost.batch(rows)
    return BATCH / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
