"""The measured profiles that ship: what their README says is what the files hold."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from nasforge.hardware.profile import read_profile

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "hardware_profiles").glob("*-*-*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_measured_profile_is_sound_and_held_to_forty_networks(path):
    profile = read_profile(path)
    assert path.stem.startswith(f"{'cpu' if profile.precision == 'float32' else profile.precision}-")
    assert not profile.synthetic
    assert profile.validation["n"] == len(profile.held_out) == 40
    assert len(profile.reference) >= 2
    assert not {tuple(each["decisions"]) for each in profile.held_out} & {
        tuple(each["decisions"]) for each in profile.fitted
    }
    assert not re.search(r"/(work|tmp|home|root)/", path.read_text(encoding="utf-8"))


def test_the_readme_states_what_the_files_hold(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["latency_prediction.py"])
    made = runpy.run_path(str(ROOT / "benchmarks" / "latency_prediction.py"), run_name="benchmark")
    page = (ROOT / "hardware_profiles" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in page.split("<!-- measured -->")[1].split("<!-- end -->")[0].splitlines() if "`" in line]
    assert rows == [f"| {' | '.join(made['readme_cells'](path))} |" for path in FILES]
