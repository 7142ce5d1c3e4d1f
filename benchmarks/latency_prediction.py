"""How well latency is predicted on this machine: profiles by the full protocol, held to times of another process.

    python benchmarks/latency_prediction.py [--targets cpu int8] [--cases mbconv:32 ...] [--ship] [--quick]

For each target, space and input size a profile is measured in an empty cache by `nasforge profile`'s function. Forty
networks that took no part in fitting are then timed by another process, by the protocol of finalists. Its reference
network tells how fast the processor was meanwhile: `speed` is its time over that in the profile. Shares are at equal
speed; those of the times as they were read stand beside them. MACs are the best straight line over MACs, fitted to
those forty networks themselves. A second table fits the same readings again with less of the protocol. Run it on an
idle machine; it refuses to measure beside other work, and tries a case three times. `--ship` writes the profiles to
hardware_profiles/. Cases that are not asked for keep their rows of an earlier run, and each says its commit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from record import command, commit, record, table

from nasforge.errors import ProfileError
from nasforge.hardware.block_table import BlockTable, corrected_cost, fit_correction
from nasforge.hardware.predictor import agreement, intervals
from nasforge.hardware.profile import Profile, read_profile, write_profile
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
    "speed", "within 10 % as read", "quiet visits", "MACs within 10 %", "Spearman of MACs", "predictions/s",
]  # fmt: skip
WAYS: dict[str, Callable[[npt.NDArray[Any]], float]] = {
    "one visit": lambda visits: float(visits[0, 0]),
    "medians": lambda visits: float(np.median(visits[:, 1])),
    "minima, no gate": lambda visits: float(visits[:, 0].min()),
}
"""From (visits, 2) least runs and medians to one time."""
README_HEADER = (
    "profile", "processor", "runtime", "precision", "space", "measured", "blocks", "quiet visits", "within 5 %",
    "within 10 %", "RMSPE", "Spearman", "speed",
)  # fmt: skip
PROTOCOL_HEADER = ["target", "space", "readings", "within 5 %", "within 10 %", "RMSPE", "Spearman"]
TRIES = 3
PROFILES = Path(__file__).parent.parent / "hardware_profiles"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=TARGETS, choices=TARGETS)
    parser.add_argument("--cases", nargs="+", default=CASES, help="SPACE:SIZE of the input")
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--quick", action="store_true", help="cpu on nb201, two short visits")
    given = parser.parse_args()
    pairs = [("cpu", "nb201:16")] if given.quick else [(t, c) for c in given.cases for t in given.targets]
    name = "latency_prediction_quick" if given.quick else "latency_prediction"
    cases = {} if given.quick else earlier(name)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NASFORGE_CACHE"] = cache
        for target, case in pairs:
            found = measured(target, case, given.quick, given.ship and case in SHIPPED)
            cases[f"{target} {case}"] = found
            sys.stderr.write(f"{found['row']}\n")
            ordered = [cases[key] for key in sorted(cases, key=lambda each: (each.split(":")[-1], each.split()[::-1]))]
            record(name, HEADER, [each["row"] for each in ordered], cases)
            record(f"{name}_protocol", PROTOCOL_HEADER, [row for each in ordered for row in each["protocol"]], {})


def earlier(name: str) -> dict[str, Any]:
    """Return the cases that were recorded before."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["details"]) if path.exists() else {}


def measured(target: str, case: str, quick: bool, ship: bool) -> dict[str, Any]:
    """Measure a profile of a case, and return what is recorded of it."""
    name, _, size = case.partition(":")
    space = make_space(name, {"repeats": 1} if quick else {}, (3, int(size), int(size)), 10)
    device = make_target(target, {"protocol": QUICK} if quick else {})
    for left in reversed(range(TRIES)):
        begun = time.perf_counter()
        try:
            _, profile = device.make_profile(space)
            break
        except ProfileError as error:
            if not left:
                raise
            sys.stderr.write(f"{target} {case}: {error}\n")
    seconds = time.perf_counter() - begun
    if ship:
        write_profile(PROFILES / f"{target}-{name}-{size}.json", without_visits(profile))
        write_readme()
    return {
        "command": command(),
        "commit": commit(),
        "row": row(target, case, seconds, space, profile, rate(device, space)),
        "protocol": protocol_rows(target, case, space, profile),
        "validation": dict(profile.validation),
        "intervals": intervals(profile.validation),
        "baselines": dict(profile.baselines),
        "noise": {key: value for key, value in profile.noise.items() if key != "marks"},
        "held_out": [[each["measured_ms"], each["predicted_ms"]] for each in profile.held_out],
    }


def protocol_rows(target: str, case: str, space: SearchSpace, profile: Profile) -> list[list[Any]]:
    """Return the error that the same visits would have given, read in simpler ways, on the same held-out networks."""
    truth = [each["measured_ms"] for each in profile.held_out]
    held = [space.from_decisions(each["decisions"]) for each in profile.held_out]
    fitted = [space.lower(space.from_decisions(each["decisions"])) for each in profile.fitted]
    found = {"the protocol": profile.validation}
    plain = {"offset": 0.0, "per_block": 0.0, "factor": 1.0, "factors": {}}
    variants = {"no whole networks": (dict(profile.entries), plain)}
    for name, way in WAYS.items():
        entries = {key: way(np.asarray(each["visits_ms"])) for key, each in profile.readings.items()}
        table = BlockTable(dataclasses.replace(profile, entries=entries), space)
        times = [way(np.asarray(each["visits_ms"])) for each in profile.fitted]
        variants[name] = (entries, fit_correction(table, fitted, times))
    for name, (entries, correction) in variants.items():
        cost = corrected_cost(dataclasses.replace(profile, entries=entries, correction=correction), space)
        found[name] = agreement([cost(each) for each in held], truth)
    found["MACs"] = profile.baselines["macs"]
    keys = ("within_5_percent", "within_10_percent", "rmspe", "spearman")
    return [[target, case, name, *(each[key] for key in keys)] for name, each in found.items()]


def row(target: str, case: str, seconds: float, space: SearchSpace, profile: Profile, rate: float) -> list[Any]:
    found, macs = profile.validation, profile.baselines["macs"]
    shares = [found["within_5_percent"], found["within_10_percent"], intervals(found)["within_10_percent"][0]]
    counts = [len(profile.entries), len(space.node_variants())]
    rest = [found["rmspe"], found["spearman"], found["speed"], found["within_10_percent_as_read"]]
    rest += [profile.noise["accepted"], macs["within_10_percent"], macs["spearman"], rate]
    return [target, case, seconds, *counts, *shares, *rest]


def without_visits(profile: Profile) -> Profile:
    """Return a profile to ship: the single visits of an entry are left out."""
    readings = {
        key: {name: value for name, value in each.items() if name != "visits_ms"}
        for key, each in profile.readings.items()
    }
    fitted = [{name: value for name, value in each.items() if name != "visits_ms"} for each in profile.fitted]
    return dataclasses.replace(profile, readings=readings, fitted=fitted)


def write_readme() -> None:
    """Write the table of the measured profiles into their README."""
    page = (PROFILES / "README.md").read_text(encoding="utf-8")
    lines = table(README_HEADER, [readme_cells(path) for path in sorted(PROFILES.glob("*-*-*.json"))])
    page = re.sub(r"(<!-- measured -->\n).*?(<!-- end -->)", f"\\1\n{lines}\n\n\\2", page, count=1, flags=re.DOTALL)
    (PROFILES / "README.md").write_text(page, encoding="utf-8")


def readme_cells(path: Path) -> list[str]:
    """Return the row of a measured profile."""
    profile = read_profile(path)
    found, ends = profile.validation, intervals(profile.validation)
    shape = "x".join(map(str, next(iter(profile.space["input_shapes"].values()))))
    return [
        f"`{path.name}`", profile.device["model"], f"ONNX Runtime {profile.runtime['onnxruntime']}", profile.precision,
        f"{profile.space['name']} {shape}", profile.created[:10], str(len(profile.entries)),
        f"{profile.noise['accepted']:.0%}", f"{found['within_5_percent']:.1%}",
        f"{found['within_10_percent']:.1%} ({ends['within_10_percent'][0]:.0%} to "
        f"{ends['within_10_percent'][1]:.0%})", f"{found['rmspe']:.1%}", f"{found['spearman']:.3f}",
        f"{found['speed']:.2f}",
    ]  # fmt: skip


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
