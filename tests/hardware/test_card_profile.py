"""Fitted cards as files: what ships is sound, and what was edited, is incomplete or of the future is refused."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest

from nasforge.errors import ProfileError
from nasforge.hardware import card_profile, roofline
from nasforge.hardware.card_profile import describe_card_profile, describe_shipped, make_card_profile, shipped_profile
from nasforge.hardware.profile import checksum

ROOT = Path(__file__).parents[2]
SHIPPED = ("gtx1080ti", "rtx2080ti")


@pytest.fixture
def data():
    return shipped_profile("gtx1080ti").to_json()


@pytest.mark.parametrize("card", SHIPPED)
def test_what_ships_is_sound_and_of_the_card_that_the_roofline_knows(card):
    profile = shipped_profile(card)
    assert profile.card == card
    assert profile.model.card == roofline.card(card)
    assert set(profile.batches) == {1, 32, 64, 256}
    held_out, fitted = (
        {(row["table"], row["batch"]) for row in rows} for rows in (profile.validation, profile.fitted_on)
    )
    assert held_out == fitted
    for row in profile.validation:
        for figures in (row["as_shipped"], row["own_host"]):
            assert figures["n"] >= 4000
            assert 0.94 < figures["spearman"] <= 1.0
    text = resources.files("nasforge_profiles").joinpath(card_profile.file_name(card)).read_text(encoding="utf-8")
    assert make_card_profile(json.loads(text), card).to_json() == json.loads(text)


def test_the_readme_of_the_profiles_states_what_the_files_hold():
    page = (ROOT / "hardware_profiles" / "README.md").read_text(encoding="utf-8")
    for card in SHIPPED:
        for row in shipped_profile(card).validation:
            own, shipped = row["own_host"], row["as_shipped"]
            cells = [
                f"`{card_profile.file_name(card)}`", row["table"], str(row["batch"]), f"{own['n']:,.0f}",
                f"{own['spearman']:.3f}", f"{own['explained']:.3f}", f"{own['within_5_percent']:.1%}",
                f"{own['within_10_percent']:.1%}", f"{own['rmspe']:.1%}", f"{own['spread']:.1%}",
                f"{shipped['spearman']:.3f}", f"{shipped['rmspe']:.1%}",
                f"{row['spearman_of_free_coefficients']:.3f}",
            ]  # fmt: skip
            assert f"| {' | '.join(cells)} |" in page
    for name, card in roofline.CARDS.items():
        assert re.search(rf"`{name}` \| {re.escape(card.name)} \| {card.tflops:g} \| {card.bandwidth_gbs:g} ", page)


@pytest.mark.parametrize("batch", [1, 5, 6, 48, 64, 100, 4096])
def test_the_nearest_batch_is_nearest_by_ratio(data, batch):
    expected = {1: 1, 5: 1, 6: 32, 48: 64, 64: 64, 100: 64, 4096: 256}
    assert make_card_profile(data, "x").nearest_batch(batch) == expected[batch]


def test_a_profile_edited_by_hand_is_refused(data):
    data["coefficients"]["launch_ms"]["dense"] *= 0.5
    with pytest.raises(ProfileError, match="edited or damaged"):
        make_card_profile(data, "x")


@pytest.mark.parametrize("change", [{"schema": 2}, {"schema": None}, {"kind": "analytic"}])
def test_another_kind_or_a_future_schema_is_refused(data, change):
    data.update(change)
    with pytest.raises(ProfileError, match="expected"):
        make_card_profile({**data, "sha256": checksum(data)}, "x")
    with pytest.raises(ProfileError, match="list"):
        make_card_profile([data], "x")


@pytest.mark.parametrize("part", ["coefficients", "device", "validation", "created"])
def test_a_profile_without_a_part_is_refused(data, part):
    del data[part]
    with pytest.raises(ProfileError, match=f"lacks a part.*{part}"):
        make_card_profile({**data, "sha256": checksum(data)}, "x")


def test_coefficients_that_are_impossible_are_refused_whatever_the_checksum(data):
    data["coefficients"]["memory"]["dense"] = -0.1
    with pytest.raises(ProfileError, match="not positive"):
        make_card_profile({**data, "sha256": checksum(data)}, "x")


def test_a_card_without_a_fitted_profile_has_none():
    assert shipped_profile("a100") is None
    assert shipped_profile("no such card") is None


def test_without_the_package_of_profiles_there_is_none(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(card_profile.resources, "files", absent)
    assert shipped_profile("gtx1080ti") is None


def test_damaged_files_are_named_and_do_not_break_the_list(monkeypatch):
    monkeypatch.setattr(card_profile, "shipped_cards", lambda: {"gtx1080ti": "{", "t4": "{}"})
    with pytest.raises(ProfileError, match=r"gpu-gtx1080ti\.json' is no JSON"):
        shipped_profile("gtx1080ti")
    found = describe_shipped()
    assert "no JSON" in found["gpu-gtx1080ti"]
    assert "expected" in found["gpu-t4"]


def test_a_profile_in_one_line(data):
    line = describe_card_profile(make_card_profile(data, "x"))
    assert line.startswith("NVIDIA GeForce GTX 1080 Ti, fitted kernel model, ")
    assert "batches 1, 32, 64, 256" in line
