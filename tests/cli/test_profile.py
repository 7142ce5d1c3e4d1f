"""`nasforge profile` on the command line: what it refuses, what it says when stopped, and how long it will take."""

from __future__ import annotations

import pytest

from nasforge.cli.app import main
from nasforge.config import profiling

pytestmark = pytest.mark.plugins


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--resolution", "0"], "3 x 0 x 0"),
        (["--classes", "0"], "classes was given 0"),
        (["--seed", "3", "-n", "20"], "--networks, --seed cannot go with a profile of this machine"),
        (["--export-networks", "nets", "--data", "digits"], "--data cannot go with --export-networks"),
        (["--export-networks", "nets", "--batch", "8"], "--batch cannot go with --export-networks"),
        (["--export-networks", "nets", "--threads", "1"], "--threads cannot go with --export-networks"),
        (["--export-networks", "nets", "--target", "int8"], "--target cannot go with --export-networks"),
        (["--from-measurements", "t.csv", "--name", "x", "--out", "o.json"], "--out cannot go with --from-measure"),
        (["--from-measurements", "t.csv", "--name", "x", "--space", "nb201"], "--space cannot go with --from-measure"),
        (["--from-measurements", "t.csv", "--name", "x", "visits=3"], "options of the target cannot go with --from"),
    ],
)
def test_options_that_would_be_ignored_are_refused(capsys, monkeypatch, given, words):
    monkeypatch.setattr("nasforge.targets.ort_target.build_profile", lambda *given: pytest.fail("measured"))
    assert main(["profile", *given]) == 2
    assert words in capsys.readouterr().err


def test_stopped_it_says_that_the_same_command_goes_on(capsys, monkeypatch):
    def stopped(*given, progress, **named):
        progress(0.2, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(profiling, "make_profile", stopped)
    assert main(["profile"]) == 130
    assert "nasforge: interrupted; the same command goes on where it was." in capsys.readouterr().err
