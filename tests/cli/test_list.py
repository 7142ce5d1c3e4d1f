"""`nasforge list`: what was measured here is listed, and a space that works with nothing is explained once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasforge.cli.app import main
from nasforge.hardware.profile import Profile, write_profile


def profile(validation: dict[str, float]) -> Profile:
    return Profile(
        device={"model": "Abacus 9000"}, device_key="k", runtime={}, precision="int8", space={}, protocol={}, noise={},
        entries={}, kernels={}, correction={}, validation=validation, created="2031-02-03T04:05:06",
    )  # fmt: skip


def test_profiles_measured_here_are_listed_with_device_date_and_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path))
    assert main(["list", "profiles", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["profiles"]
    write_profile(tmp_path / "int8-mine-1.json", profile({"within_10_percent": 0.95, "n": 20.0}))
    write_profile(tmp_path / "cpu-mine-2.json", profile({}))
    (tmp_path / "cut.json").write_text("{", encoding="utf-8")
    assert main(["list", "profiles", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["profiles"]
    assert found.keys() - before.keys() == {"int8-mine-1", "cpu-mine-2", "cut"}
    assert found["int8-mine-1"] == "Abacus 9000, int8, measured 2031-02-03, 95% of 20 networks within 10 %"
    assert found["cpu-mine-2"].endswith("no held-out error")
    assert found["cut"].startswith("damaged")
    assert main(["list", "profiles"]) == 0
    assert str(tmp_path) in capsys.readouterr().out


def test_a_reason_that_holds_for_every_strategy_is_printed_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = {
        "first": {"sound": None, "broken": "it does not load.", "odd": "first cannot."},
        "second": {"sound": None, "broken": "it does not load.", "odd": "second cannot."},
    }
    monkeypatch.setattr("nasforge.run.matrix.compatibility", lambda: matrix)
    monkeypatch.setattr("nasforge.registry.installed", lambda kind: dict.fromkeys(matrix["first"]))
    assert main(["list", "--compatible"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("it does not load.") == 1
    assert "any strategy x broken: it does not load." in printed
    assert "first x odd: first cannot." in printed
    assert "second x odd: second cannot." in printed


def test_doctor_shows_every_profile_and_which_are_damaged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASFORGE_CACHE", str(tmp_path))
    write_profile(tmp_path / "cpu-mine-2.json", profile({}))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "phone.json").write_text("{", encoding="utf-8")
    assert main(["list", "profiles", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["profiles"]
    assert main(["doctor", "--json"]) == 0
    found = {each["check"].removeprefix("profile "): each for each in json.loads(capsys.readouterr().out)}
    assert {"cpu-mine-2", "profile:phone"} <= listed.keys() <= found.keys()
    assert {name: found[name]["state"] for name in ("cpu-mine-2", "profile:phone")} == {
        "cpu-mine-2": "ok",
        "profile:phone": "note",
    }
