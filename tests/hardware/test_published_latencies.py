"""The shipped cards against the tables they were fitted to: the errors that the files state are what they have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasforge.hardware.card_profile import shipped_profile
from nasforge.hardware.kernel_fit import accuracy

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not os.environ.get("NASFORGE_DATA"), reason="NASFORGE_DATA is not set: the published latencies are not here."
)


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import gpu_profiles

        yield gpu_profiles
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module", params=["fbnet_table", "nb201_table"])
def table(benchmark, request):
    return getattr(benchmark, request.param)()


@pytest.mark.parametrize("card", ["gtx1080ti", "rtx2080ti"])
def test_the_errors_stated_in_a_file_are_those_of_its_coefficients(benchmark, table, card):
    profile = shipped_profile(card)
    fitted = next(row["networks"] for row in profile.fitted_on if row["table"] == table.name)
    held_out = np.random.default_rng(benchmark.SEED).permutation(len(table.rows))[fitted:]
    for row in (row for row in profile.validation if row["table"] == table.name):
        guesses = benchmark.predicted(table, held_out, profile.model, row["batch"], 1.0)
        found = accuracy(guesses, table.latency_ms[card, row["batch"]][held_out])
        assert found == pytest.approx(row["as_shipped"], rel=1e-6)


@pytest.mark.slow
def test_the_benchmark_runs_to_its_end(tmp_path):
    code = (
        "import pathlib, record, runpy, sys\n"
        f"record.RESULTS = pathlib.Path({str(tmp_path)!r})\n"
        "sys.argv = ['gpu_profiles.py', '--quick']\n"
        "runpy.run_path('benchmarks/gpu_profiles.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in tmp_path.iterdir()} == {"gpu_profiles_quick.json", "gpu_profiles_transfer_quick.json"}
