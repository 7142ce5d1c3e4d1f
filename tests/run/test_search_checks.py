"""What a search finds out before it trains, and what its result says of how it was made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge import Input, SearchSpace, choice
from nasforge.errors import UsageError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.pace import MEASURED_STEPS, Pace

pytestmark = pytest.mark.plugins


def space(*shape: int, classes: int = 10) -> SearchSpace:
    x = Conv(choice(4, 8, name="width"), 3)(Input(*shape))
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x))}, name="tiny")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (space(1, 8, 8), ["'tiny' takes the input 'image' of 1 x 8 x 8", "images of 3 x 8 x 8", "for 3 x 8 x 8"]),
        (space(3, 16, 16), ["3 x 16 x 16", "3 x 8 x 8"]),
        (space(3, 8, 8, classes=7), ["'tiny' gives 7 logits", "10 classes"]),
    ],
)
def test_a_space_for_other_images_or_classes_is_refused_before_anything_is_written(
    given: SearchSpace, said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refusal:
        nasforge.search(space=given, strategy="random", target="gpu", budget="1-evaluations", out=tmp_path / "run")
    assert all(text in str(refusal.value) for text in said)
    assert not (tmp_path / "run").exists()


def search(folder: Path, **changed: Any) -> nasforge.SearchResult:
    asked: dict[str, Any] = {
        "space": space(3, 8, 8), "strategy": {"name": "evolution", "population": 7}, "target": "gpu",
        "budget": "2-evaluations", "training": {"epochs": 1, "evaluation_epochs": 1, "batch_size": 256}, "out": folder,
    }  # fmt: skip
    return nasforge.search(**{**asked, **changed})


def test_the_result_holds_all_options_given_or_not(tmp_path: Path) -> None:
    given = search(tmp_path / "run", space={"name": "nb201", "repeats": 1}).document["options"]
    assert given["strategy"]["population"] == 7
    assert given["strategy"].keys() > {"population"}
    assert given["space"]["repeats"] == 1
    assert given["space"].keys() > {"repeats"}
    assert given["training"]["batch_size"] == 256
    assert given["training"]["momentum"] == 0.9
    assert given["data"]["limit"] is None


def test_what_the_clock_cut_short_is_a_warning_and_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(tmp_path / "whole")
    assert not [each for each in whole.warnings if "time ran out" in each]
    monkeypatch.setattr("nasforge.run.budget.QUICK_SECONDS", 0.02)
    training = {"epochs": 5000, "evaluation_epochs": 1, "batch_size": 16}
    cut = search(tmp_path / "cut", budget="quick", training=training)
    said = [each for each in cut.warnings if "time ran out" in each]
    (trained,) = [
        re.match(r"the network was trained ([\d.]+) of 5000 epochs:", each) for each in said if "trained" in each
    ]
    assert trained is not None
    assert 1 <= float(trained[1]) < 5000
    assert any("of 16 architectures were evaluated" in each for each in said)
    log = (tmp_path / "cut" / "log.txt").read_text(encoding="utf-8")
    assert all(each in log for each in said)
    shared = search(
        tmp_path / "shared",
        budget="quick",
        space={"name": "mbconv_elastic", "width": 0.25},
        strategy="bignas",
        training={"shared_epochs": 500, "batch_size": 16},
    )
    (sentence,) = [each for each in shared.warnings if "shared weights were trained" in each]
    assert "of 500 epochs" in sentence


def test_a_pace_knows_what_was_planned_after_it_was_cut_and_resumed() -> None:
    pace = Pace([1.0], 1000, 10.0)
    assert pace.steps() == (1000, 1000)
    for step in range(MEASURED_STEPS + 1):
        pace.observe(0, step, 0.1)
    made, planned = pace.steps()
    assert planned == 1000
    assert made == pytest.approx(100, abs=1)
    again = Pace([1.0], 1000, 10.0)
    again.load_state(pace.state())
    assert again.steps() == (made, planned)
