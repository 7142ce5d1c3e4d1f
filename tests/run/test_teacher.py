"""Teachers from folders: what does not fit is refused in a sentence, what cannot be checked is said."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nasforge
from nasforge.errors import IncompatibleError, UsageError
from nasforge.run.artifact import Artifact
from nasforge.run.load import load
from nasforge.run.options import make_space
from nasforge.run.progress import Listener
from nasforge.run.settings import Plug
from nasforge.run.teacher import Renormalised, load_teachers, origin_of
from nasforge.tasks import DataSource, Preprocessing
from nasforge.tasks.datasets.digits import load as digits

pytestmark = pytest.mark.plugins

OPTIONS = {"limit": 120}
SPACE: dict[str, Any] = {"repeats": 1, "channels": 4}


class Notes(Listener):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, sentence: str) -> None:
        self.heard.append(sentence)


def artifact(channels: int = 4, classes: int = 10, size: int = 8) -> Artifact:
    plug = Plug("nb201", {**SPACE, "channels": channels})
    space = make_space(plug.name, plug.options, (3, size, size), classes)
    return Artifact(space, space.from_decisions([3] * 6), plug, classes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `nasforge train` leaves it."""
    folder = tmp_path_factory.mktemp("trained") / "teacher"
    nasforge.train(
        artifact(), data="digits", data_options=OPTIONS, training={"epochs": 10, "batch_size": 16}, out=folder
    )
    return folder


@pytest.fixture(scope="module")
def source() -> DataSource:
    return digits(limit=120)


def train(folder: Path, **given: Any) -> nasforge.Trained:
    fixed = {"data": "digits", "data_options": OPTIONS, "training": {"epochs": 1}, "out": folder}
    return nasforge.train(given.pop("architecture", artifact()), **{**fixed, **given})


def test_a_folder_says_what_its_network_was_trained_on(trained: Path, source: DataSource, tmp_path: Path) -> None:
    origin = origin_of(trained)
    assert origin is not None
    assert (origin.data, origin.options, origin.seed) == ("digits", OPTIONS, 0)
    assert origin_of(trained / "model.safetensors") == origin
    assert origin_of(tmp_path) is None
    heard = Notes()
    teachers = load_teachers(f"{trained}, {trained / 'model.safetensors'}", source, heard)
    assert len(teachers.modules) == 2
    assert heard.heard == []
    images = source.preprocessing.normalise(source.split("valid").images)
    torch.testing.assert_close(teachers(images), torch.softmax(load(trained).module(images), dim=1))


def test_teachers_of_other_classes_images_or_splits_are_refused(
    trained: Path, source: DataSource, tmp_path: Path
) -> None:
    renamed = dataclasses.replace(source, classes=tuple("abcdefghij"))
    with pytest.raises(UsageError, match=r"knows the classes 0, 1, .* have a, b"):
        load_teachers([trained], renamed, Notes())
    with pytest.raises(UsageError, match=r"3 x 8 x 8.*3 x 16 x 16"):
        load_teachers([trained], digits(limit=120, size=16), Notes())
    with pytest.raises(UsageError, match=r"of the test images of 'digits'.*seed 0"):
        load_teachers([trained], digits(limit=1400, seed=1), Notes())
    with pytest.raises(UsageError, match="of the test images"):
        train(tmp_path / "new", teacher=str(trained), seed=1, data_options={"limit": 1400})
    assert not (tmp_path / "new").exists()


def test_a_teacher_that_saw_held_out_images_is_warned_of(trained: Path, source: DataSource) -> None:
    splits = {**source.splits, "valid": source.split("train")}
    heard = Notes()
    load_teachers([trained], dataclasses.replace(source, splits=splits), heard)
    assert "100% of the held-out images" in heard.heard[0]


def test_a_teacher_of_other_data_with_the_same_classes_is_taken_with_a_note(trained: Path, source: DataSource) -> None:
    heard = Notes()
    load_teachers([trained], dataclasses.replace(source, name="numbers"), heard)
    assert "was trained on 'digits' and its student learns from 'numbers'" in heard.heard[0]


def test_a_model_without_its_folder_is_taken_with_a_note(trained: Path, source: DataSource, tmp_path: Path) -> None:
    shutil.copy(trained / "model.safetensors", tmp_path / "alone.safetensors")
    heard = Notes()
    load_teachers([tmp_path / "alone.safetensors"], source, heard)
    assert "does not say what it was trained on" in heard.heard[0]


def test_a_teacher_of_another_normalisation_sees_the_same_pixels(
    trained: Path, source: DataSource, tmp_path: Path
) -> None:
    model = load(trained)
    other = dataclasses.replace(source, preprocessing=Preprocessing((8, 8), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    teachers = load_teachers(model, other, Notes())
    assert isinstance(teachers.modules[0], Renormalised)
    pixels = source.split("valid").images
    expected = torch.softmax(model.module(model.preprocessing.normalise(pixels)), dim=1)
    torch.testing.assert_close(teachers(other.preprocessing.normalise(pixels)), expected, rtol=1e-4, atol=1e-5)


def test_modules_are_teachers_where_they_give_logits_of_the_classes(source: DataSource) -> None:
    fits = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    assert load_teachers(fits, source, Notes()).modules == (fits,)
    for wrong in (nn.Sequential(nn.Flatten(), nn.Linear(192, 7)), nn.Flatten(), nn.Linear(5, 5)):
        with pytest.raises(UsageError, match="the teacher"):
            load_teachers([wrong], source, Notes())
    with pytest.raises(UsageError, match="expected a run folder"):
        load_teachers([3], source, Notes())  # type: ignore[list-item]


def test_a_distilled_training_says_whom_it_followed(trained: Path, tmp_path: Path) -> None:
    train(tmp_path / "student", teacher=[trained], initial=trained, training={"recipe": "meal_v2", "epochs": 2})
    said = json.loads((tmp_path / "student" / "training.json").read_text(encoding="utf-8"))
    assert (said["recipe"], said["initial"]) == ("meal_v2", str(trained))
    assert said["teacher"]["given"] == [str(trained)]
    assert set(said["teacher"]["metrics"]) == {"accuracy_valid", "nll_valid"}
    assert said["config"]["weight_decay"] == 0.0


def test_a_training_that_begins_with_weights_and_learns_nothing_ends_with_them(trained: Path, tmp_path: Path) -> None:
    train(tmp_path / "same", initial=trained, training={"epochs": 0.01, "lr": 1e-30, "weight_decay": 0})
    first, second = (dict(load(folder).module.named_parameters()) for folder in (trained, tmp_path / "same"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_of_another_network_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"another network .* leave --from out"):
        train(tmp_path / "wider", architecture=artifact(channels=8), initial=trained)


def test_a_weaker_teacher_is_warned_of(trained: Path, source: DataSource, tmp_path: Path) -> None:
    torch.manual_seed(0)
    untrained, heard = nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), Notes()
    train(tmp_path / "s", teacher=untrained, initial=trained, training={"epochs": 0.01, "lr": 1e-9}, listener=heard)
    assert [sentence for sentence in heard.heard if "warning: the teachers are right on" in sentence]


def test_settings_that_contradict_each_other_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label_smoothing"):
        train(tmp_path / "a", teacher=trained, training={"label_smoothing": 0.1})
    with pytest.raises(UsageError, match="without a teacher"):
        train(tmp_path / "a", training={"hard_weight": 0.5})
    for training in ({"auxiliary_weight": 0.4}, {"drop_path_keep": 0.6}):
        with pytest.raises(IncompatibleError, match=r"space 'nb201'.*leave it out"):
            train(tmp_path / "a", training=training)
    assert not (tmp_path / "a").exists()


# In a search


def search(out: Path, training: dict[str, Any], **given: Any) -> nasforge.SearchResult:
    fixed = {"data": "digits", "data_options": OPTIONS, "budget": "1-evaluations", "out": out}
    space = {"name": "nb201", **SPACE}
    amounts = {"evaluation_epochs": 1, "epochs": 1}
    strategy = given.pop("strategy", "random")
    return nasforge.search(space, strategy, "gpu", **{**fixed, **given}, training={**amounts, **training})


def test_the_winner_of_a_search_follows_teachers(trained: Path, tmp_path: Path) -> None:
    runs = [search(tmp_path / str(number), training) for number, training in enumerate(({}, {"teacher": str(trained)}))]
    first, second = (dict(run.load().module.named_parameters()) for run in runs)
    assert runs[0].best["id"] == runs[1].best["id"]  # type: ignore[index]
    assert any(not torch.equal(first[name], second[name]) for name in first)
    found = runs[1].document["options"]["training"]
    assert found["epochs"] == 1


def test_a_search_refuses_what_nobody_would_follow_before_it_begins(trained: Path, tmp_path: Path) -> None:
    teacher = {"teacher": [str(trained)]}
    with pytest.raises(UsageError, match="nothing is retrained"):
        search(tmp_path / "a", teacher, retrain=False)
    with pytest.raises(UsageError, match="nothing is retrained"):
        search(tmp_path / "a", teacher, strategy={"name": "bignas"})
    with pytest.raises(UsageError, match="does not exist"):
        search(tmp_path / "a", {"teacher": str(tmp_path / "nowhere")})
    with pytest.raises(IncompatibleError, match="auxiliary"):
        search(tmp_path / "a", {"recipe": "nasnet_cifar"})
    with pytest.raises(UsageError, match="Did you mean 'meal_v2'"):
        search(tmp_path / "a", {"recipe": "meal"})
    assert not (tmp_path / "a").exists()


def test_a_run_folder_is_a_teacher(tmp_path: Path, source: DataSource) -> None:
    run = search(tmp_path / "run", {})
    origin = origin_of(run.folder)
    assert origin is not None
    assert (origin.data, origin.seed, origin.options["limit"]) == ("digits", 0, 120)
    assert len(load_teachers([run.folder], source, Notes()).modules) == 1
