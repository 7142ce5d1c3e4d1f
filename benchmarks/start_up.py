"""How long `nasforge list` and `import nasforge` take in a fresh process, and what they import."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from record import record

BOUND_SECONDS = 0.5
HEAVY = ("torch", "torchvision", "ray", "onnx", "onnxruntime", "optuna", "hydra", "scipy", "sklearn")
CASES = {
    "python -c pass": "pass",
    "import nasforge": "import nasforge",
    "from nasforge import SearchSpace, Strategy": "from nasforge import SearchSpace, Strategy",
    "nasforge list": "from nasforge.cli.app import main; main(['list'])",
    "nasforge --help": "from nasforge.cli.app import main; main(['--help'])",
}


def seconds(code: str, times: int) -> list[float]:
    """Return the wall-clock seconds of processes that run the code, after one that warms the disk."""
    found = []
    for _ in range(times + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - begun)
    return found[1:]


def heavy(code: str) -> list[str]:
    """Return the heavy libraries that the code imports."""
    ask = f"{code}\nimport sys; sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    return done.stderr.split()


def main() -> int:
    """Measure, print, record; return 1 where the bound is missed or torch is imported."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three processes each, nothing recorded as a result")
    quick = parser.parse_args().quick
    rows, passed = [], True
    for name, code in CASES.items():
        found, imported = seconds(code, 3 if quick else 15), heavy(code)
        median = statistics.median(found)
        rows.append([name, median, min(found), max(found), " ".join(imported) or "none"])
        passed &= median < BOUND_SECONDS and not imported
    header = ["what", "median_s", "least_s", "most_s", "heavy imports"]
    record("start_up_quick" if quick else "start_up", header, rows, {"bound_s": BOUND_SECONDS})
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
