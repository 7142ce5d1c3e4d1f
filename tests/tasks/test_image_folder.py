"""A folder of images as people have them: any sizes and kinds load, and every defect is one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasforge.cli.app import main
from nasforge.errors import DataError
from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets import image_folder


def paint(path: Path, level: int, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).convert(mode).save(path)
    return path


def fill(root: Path, classes: dict[str, int], count: int = 10, size: tuple[int, int] = (12, 12)) -> Path:
    for name, level in classes.items():
        for number in range(count):
            paint(root / name / f"{number:02d}.png", level + number, size)
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "data", {"cat": 50, "dog": 150})


def levels(source: DataSource, split: str) -> list[int]:
    return sorted(source.splits[split].images[:, 0, 0, 0].tolist())  # type: ignore[index]


def everything(source: DataSource) -> list[int]:
    return sorted(level for split in source.splits for level in levels(source, split))


def refused(folder: Path, *expected: str, **options: int) -> None:
    with pytest.raises(DataError) as caught:
        image_folder.load(str(folder), **options)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_a_folder_without_splits_is_split_by_itself(folder: Path) -> None:
    source = image_folder.load(str(folder))
    assert source.classes == ("cat", "dog")
    assert everything(source) == [*range(50, 60), *range(150, 160)]
    for split in source.splits.values():
        assert torch.equal((split.images[:, 0, 0, 0] >= 150).long(), split.labels)


def test_train_and_test_folders_are_kept_apart(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 50, "b": 150})
    fill(tmp_path / "test", {"a": 100, "b": 200}, count=3)
    source = image_folder.load(str(tmp_path))
    assert levels(source, "test") == [100, 101, 102, 200, 201, 202]
    assert sorted(levels(source, "train") + levels(source, "valid")) == [*range(50, 60), *range(150, 160)]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_folder_of_validation_images_decides_or_is_the_test(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "train", {"a": 50, "b": 150})
    fill(tmp_path / name, {"a": 80, "b": 180}, count=2)
    assert levels(image_folder.load(str(tmp_path)), "test") == [80, 81, 180, 181]
    fill(tmp_path / "test", {"a": 100, "b": 200}, count=3)
    source = image_folder.load(str(tmp_path))
    assert levels(source, "valid") == [80, 81, 180, 181]
    assert levels(source, "test") == [100, 101, 102, 200, 201, 202]
    assert levels(source, "train") == [*range(50, 60), *range(150, 160)]


def test_classes_may_be_called_train_and_test_beside_others(tmp_path: Path) -> None:
    assert image_folder.load(str(fill(tmp_path, {"train": 50, "plane": 100, "test": 150}))).classes == (
        "plane", "test", "train",
    )  # fmt: skip


def test_a_test_class_that_train_has_not_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 50, "b": 150})
    fill(tmp_path / "test", {"a": 50, "c": 150})
    refused(tmp_path, "'c'", "train")


def test_a_test_folder_may_lack_a_class_and_labels_stay_those_of_train(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 50, "b": 150})
    fill(tmp_path / "test", {"b": 150})
    assert set(image_folder.load(str(tmp_path)).splits["test"].labels.tolist()) == {1}


def test_kinds_and_sizes_may_be_mixed(tmp_path: Path) -> None:
    for number, mode in enumerate(["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16"]):
        for label, name in enumerate(("a", "b")):
            suffix = "jpg" if mode == "CMYK" else "png"
            path = tmp_path / name / f"{number}.{suffix}"
            if mode == "I;16":
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(np.full((9, 9), 255 * 257 * label, np.uint16)).save(path)
            else:
                paint(path, 255 * label, (9 + number, 30 - number), mode)
    source = image_folder.load(str(tmp_path), size=10)
    assert sum(len(part) for part in source.splits.values()) == 16
    for part in source.splits.values():
        assert part.images.shape[1:] == (3, 10, 10)
        assert torch.equal((part.images.float().mean(dim=(1, 2, 3)) > 128).long(), part.labels)


def test_the_side_is_the_median_of_the_shorter_sides_at_most_224(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number, side in enumerate([10, 20, 20, 20, 700]):
            paint(tmp_path / name / f"{number}.png", 9, (side + 4, side))
    assert image_folder.load(str(tmp_path)).input_shape == (3, 20, 20)
    for path in tmp_path.rglob("*.png"):
        paint(path, 9, (500, 400))
    assert image_folder.load(str(tmp_path)).input_shape == (3, 224, 224)
    assert image_folder.load(str(tmp_path), size=16).input_shape == (3, 16, 16)


def test_hidden_files_other_files_and_archive_leftovers_are_left_alone(folder: Path) -> None:
    expected = everything(image_folder.load(str(folder)))
    (folder / "cat" / "._00.png").write_bytes(b"resource fork")
    (folder / "cat" / "notes.txt").write_text("no image")
    (folder / "cat" / "Thumbs.db").write_bytes(b"\0")
    (folder / "readme.md").write_text("no class")
    (folder / ".git").mkdir()
    (folder / "cat" / "folder.png").mkdir()
    paint(folder / "__MACOSX" / "._x.png", 3)
    paint(folder / "cat" / ".thumbs" / "x.png", 3)
    os.symlink(folder / "nowhere.png", folder / "cat" / "broken.png")
    assert everything(image_folder.load(str(folder))) == expected


def test_images_in_folders_below_a_class_belong_to_it(folder: Path) -> None:
    paint(folder / "cat" / "more" / "deep" / "X.PNG", 90)
    source = image_folder.load(str(folder))
    assert 90 in everything(source)


def test_links_to_folders_neither_loop_nor_count_twice(folder: Path) -> None:
    expected = everything(image_folder.load(str(folder)))
    os.symlink(folder / "cat", folder / "cat" / "again")
    os.symlink(folder, folder / "dog" / "up")
    assert everything(image_folder.load(str(folder))) == expected
    os.symlink(folder, folder / "loop")
    refused(folder, "loop", "link")


def test_a_class_may_be_a_link_to_a_folder_elsewhere(folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", {"bird": 220})
    os.symlink(tmp_path / "elsewhere" / "bird", folder / "bird")
    assert image_folder.load(str(folder)).classes == ("bird", "cat", "dog")


def test_names_may_hold_any_letters(tmp_path: Path) -> None:
    fill(tmp_path / "дом данных", {"кошка 猫": 50, 'q"u<o>te & 🐕': 150})
    source = image_folder.load(str(tmp_path / "дом данных"))
    assert source.classes == ('q"u<o>te & 🐕', "кошка 猫")
    assert source.name == "image_folder:дом данных"


def test_a_limit_reads_only_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "train", {"a": 50, "b": 150}, count=40)
    fill(tmp_path / "test", {"a": 50, "b": 150}, count=2)
    read = []
    genuine = image_folder.to_pixels
    monkeypatch.setattr(image_folder, "to_pixels", lambda path, size: read.append(path) or genuine(path, size))
    source = image_folder.load(str(tmp_path), limit=20)
    assert len(read) == 24
    learnt = torch.cat([source.splits["train"].labels, source.splits["valid"].labels])
    assert torch.bincount(learnt).tolist() == [10, 10]


def test_the_order_in_which_files_were_made_changes_nothing(tmp_path: Path) -> None:
    for root, order in (("x", range(10)), ("y", reversed(range(10)))):
        for number in order:
            for name, level in (("b", 100), ("a", 10)):
                paint(tmp_path / root / name / f"{number}.png", level + number)
    first, second = (image_folder.load(str(tmp_path / root), seed=1) for root in ("x", "y"))
    assert torch.equal(first.splits["train"].images, second.splits["train"].images)


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_an_unreadable_image_is_refused_by_name(folder: Path, content: bytes | None) -> None:
    path = folder / "dog" / "03.png"
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    refused(folder, str(path), "repair or remove it")


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path, folder: Path) -> None:
    refused(tmp_path / "nowhere", "not a folder")
    refused(folder / "cat" / "00.png", "not a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "0 class folders")
    refused(folder / "cat", "0 class folders")
    refused(fill(tmp_path / "one", {"only": 50}), "1 class folder;")
    (folder / "fish").mkdir()
    refused(folder, "fish", "holds no image")
    paint(folder / "fish" / "00.png", 7)
    refused(folder, "1 image of class 'fish'")
    refused(fill(tmp_path / "two", {"a": 9, "b": 99}, count=1), "1 image of class 'a'")
    with pytest.raises(DataError, match="image_folder:DIR"):
        image_folder.load(None)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": -3}, {"size": 10**6}, {"limit": 0}, {"limit": -1}])
def test_impossible_sizes_and_limits_are_refused(folder: Path, options: dict[str, int]) -> None:
    refused(folder, "expected", **options)


def test_more_pixels_than_memory_are_refused_before_any_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: 2 if name == "SC_PHYS_PAGES" else genuine(name))
    monkeypatch.setattr(image_folder, "to_pixels", None)
    refused(folder, "GiB", "smaller size or a limit")


def test_an_empty_test_folder_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 50, "b": 150})
    (tmp_path / "test").mkdir()
    refused(tmp_path, "no class folder")
    (tmp_path / "test" / "a").mkdir()
    refused(tmp_path, "holds no image")


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("option", "expected"), [("data_options.siz=3", "Did you mean 'size'"), ("data_options.limit=x", "limit")]
)
def test_the_program_ends_with_code_2_and_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], option: str, expected: str
) -> None:
    assert main(("search", "--data", f"image_folder:{folder}", option)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert expected in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.plugins
def test_the_program_names_the_damaged_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cat" / "05.png").write_bytes(b"\x89PNG")
    assert main(("search", "--data", f"image_folder:{folder}")) == 2
    assert "05.png" in capsys.readouterr().err


def test_a_home_folder_may_be_written_with_a_tilde(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert image_folder.load("~/data").classes == ("cat", "dog")
