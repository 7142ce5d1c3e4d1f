"""`nasforge train`: every field of a recipe, teachers and first weights from the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nasforge import load
from nasforge.cli.app import main
from nasforge.run.artifact import Artifact
from nasforge.run.atomic import write_json
from nasforge.run.options import make_space
from nasforge.run.settings import Plug
from nasforge.training import RECIPES, TrainConfig

pytestmark = pytest.mark.plugins

FIELDS: dict[str, Any] = {
    "epochs": 1.5, "batch_size": 32, "lr": 0.05, "momentum": 0.8, "weight_decay": 1e-4, "warmup": 0.2,
    "schedule": "steps", "decay": 0.5, "decay_every": 0.25, "label_smoothing": 0.1, "cutout": 3,
    "dropout": 0.2, "drop_path_keep": 0.6, "drop_path_ramp": "time", "auxiliary_weight": 0.4, "ema_decay": 0.9,
    "clip": 1.0, "channels_last": False,
}  # fmt: skip
SHARED = ("--data", "digits", "data_options.limit=120")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small architecture of nasnet."""
    plug = Plug("nasnet", {"blocks": 1, "repeats": 1, "filters": 48})
    space = make_space(plug.name, plug.options, (3, 8, 8), 10)
    file = tmp_path_factory.mktemp("cells") / "architecture.json"
    write_json(file, Artifact(space, space.largest("params"), plug, 10).to_json())
    return file


def told(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "training.json").read_text(encoding="utf-8")))


def test_every_field_is_reached(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {part.name for part in dataclasses.fields(TrainConfig)}
    default = TrainConfig()
    assert names == {*FIELDS, "hard_weight", "augment"}  # below: with a teacher, and without cutout
    assert [name for name, value in FIELDS.items() if value == getattr(default, name)] == []
    given = [f"training.{name}={str(value).lower()}" for name, value in FIELDS.items()]
    assert main(["train", str(cells), *SHARED, *given, "--out", str(tmp_path / "model"), "--json"]) == 0
    assert told(tmp_path / "model")["config"] == {**FIELDS, "hard_weight": 0.0, "augment": True}
    printed = json.loads(capsys.readouterr().out)
    model = load(tmp_path / "model")
    assert sum(p.numel() for p in model.module.parameters()) == printed["params"]


def test_recipe_teachers_and_first_weights_are_options(cells: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    cifar = ["--recipe", "nasnet_cifar", "training.epochs=1"]
    assert main(["train", str(cells), *SHARED, *cifar, "--out", str(first)]) == 0
    assert told(first)["config"] == {**dataclasses.asdict(RECIPES["nasnet_cifar"]), "epochs": 1.0}
    meal = ["training.recipe=meal_v2", "training.epochs=1", "training.hard_weight=0.5", "training.augment=false"]
    options = ["--teacher", f"{first},{first}", "--from", str(first), "--out", str(second)]
    assert main(["train", str(cells), *SHARED, *meal, *options]) == 0
    said = told(second)
    assert said["teacher"]["given"] == [str(first)] * 2
    assert said["initial"] == str(first)
    changed = {"epochs": 1.0, "hard_weight": 0.5, "augment": False}
    assert said["config"] == {**dataclasses.asdict(RECIPES["meal_v2"]), **changed}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--recipe", "nasnet"], "available: meal_v2, nasnet_cifar, nasnet_cifar_paper"),
        (["--teacher", "nowhere"], "'nowhere' does not exist"),
        (["--from", "nowhere"], "'nowhere' does not exist"),
        (["training.drop_path_ramp=tiem"], "Did you mean 'time'"),
        (["training.ema_decay=1"], "0 <= ema_decay < 1"),
        (["training.hard_weight=0.5"], "without a teacher"),
        (["training.cutout=3", "training.augment=false"], "part of the augmentation"),
        (["training.cutout=8"], "8 x 8 pixels"),
        (["--teacher", ""], "no teacher was given"),
        (["--recipe", "nasnet_cifar", "training.recipe=meal_v2"], "give one"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    cells: Path, tmp_path: Path, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(cells), *SHARED, *options, "--out", str(tmp_path / "none")]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_published_architecture_is_trained_in_the_size_of_the_data_and_loads_again(tmp_path: Path) -> None:
    out = tmp_path / "nasnet"
    words = ["train", "nasnet-a", "space.repeats=1", "space.filters=24", *SHARED, "training.epochs=0.1", "--size", "16"]
    assert main([*words, "--out", str(out)]) == 0
    model = load(out)
    assert model.artifact.input_shape == (3, 16, 16)
    assert model.artifact.to_json()["published"] == {"name": "nasnet-a", "repeats": 1, "filters": 24}
    assert main(["train", str(out), *SHARED, "training.epochs=0.1", "--size", "16", "--from", str(out)]) == 0
