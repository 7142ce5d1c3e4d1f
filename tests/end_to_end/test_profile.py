"""`nasforge profile` as people run it: a profile that the next search uses, and one that is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.plugins]

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
QUICK = [
    "--target", "cpu", "--space", "nb201", "space.repeats=1", "--resolution", "16", "target.protocol.visits=2",
    "target.protocol.visit_ms=2", "target.protocol.block_ms=1", "target.protocol.pause_seconds=0",
    "target.protocol.extra=0", "target.protocol.gate=99", "target.protocol.busy_cores=99",
]  # fmt: skip


def test_a_profile_is_made_and_interrupted_goes_on(
    nasforge_in: Nasforge, start: Start, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.json"
    process = start(tmp_path, "profile", *QUICK, "--out", str(out), "--json")
    until = time.monotonic() + 120
    while len(list(cache.glob("cpu-nb201-*.unfinished/files/*.onnx"))) < 10:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list(cache.glob("cpu-nb201-*.unfinished"))
    done = nasforge_in(tmp_path, "profile", *QUICK, "--out", str(out))
    assert not list(cache.glob("cpu-nb201-*.unfinished"))
    for word in ("this profile", "MACs, their best line", "params, their best line", "40", str(out)):
        assert word in done.stdout
    profile = json.loads(out.read_text(encoding="utf-8"))
    assert profile["validation"]["n"] == len(profile["held_out"]) == 40
    assert all(row["measured_ms"] > 0 and row["predicted_ms"] > 0 for row in profile["held_out"])


def test_bad_options_of_a_profile_are_one_sentence(nasforge_in: Nasforge, tmp_path: Path) -> None:
    for arguments, word in (
        (["--target", "gpu"], "cannot be profiled here"),
        (["--space", "mbcon"], "mbconv"),
        (["--data", "digits", "--resolution", "32"], "--resolution"),
        (["--threads", "0"], "threads"),
        (["--from-measurements", "table.csv"], "--name"),
        (["--name", "phone"], "--from-measurements"),
        (["--export-networks", "a", "--from-measurements", "b", "--name", "c"], "both"),
        (["space.wdth=2"], "width"),
        (["target.protocol.visit=2"], "visits"),
    ):
        code = 1 if "gpu" in arguments else 2
        assert word in nasforge_in(tmp_path, "profile", *arguments, code=code).stderr


def test_a_device_elsewhere_is_exported_measured_fitted_and_predicted(nasforge_in: Nasforge, tmp_path: Path) -> None:
    nasforge_in(tmp_path, "profile", "--export-networks", "out", "--space", "nb201", "space.repeats=1", "-n", "16")
    table = tmp_path / "out" / "measurements.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    sizes = [(tmp_path / "out" / line.split(",")[0]).stat().st_size for line in lines[1:]]
    filled = [f"{line.rstrip(',')},{2.0 + size / 1e6:.5f}" for line, size in zip(lines[1:], sizes, strict=True)]
    table.write_text("\n".join([lines[0], *filled]) + "\n", encoding="utf-8")
    arguments = ["profile", "--from-measurements", str(table), "--name", "my-board"]
    assert "--target profile:my-board" in nasforge_in(tmp_path, *arguments).stdout
    listed = nasforge_in(tmp_path, "list", "profiles").stdout
    assert "profile:my-board" in listed
