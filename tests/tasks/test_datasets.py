"""Data sets load what their files hold, from the seed alone, and refuse damaged files in one sentence."""

from __future__ import annotations

import gzip
import inspect
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nasforge import registry
from nasforge.errors import DataError
from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets import cifar10, cifar100, digits, fashion_mnist, fractals


def same(first: DataSource, second: DataSource) -> bool:
    return all(
        torch.equal(first.splits[name].images, second.splits[name].images)
        and torch.equal(first.splits[name].labels, second.splits[name].labels)
        for name in first.splits
    )


def refused(load, *expected: str) -> None:
    with pytest.raises(DataError) as caught:
        load()
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize("name", registry.installed("datasets"))
def test_every_data_set_takes_an_argument_a_limit_and_a_seed(name: str) -> None:
    parameters = inspect.signature(registry.load("datasets", name)).parameters
    assert next(iter(parameters)) == "argument"
    assert {"limit", "seed"} <= set(parameters)


# digits


def test_digits_are_the_pixels_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    known = {
        (round_trip.tobytes(), int(label)) for round_trip, label in zip(as_bytes(bunch), bunch.target, strict=True)
    }
    source = digits.load()
    assert sum(len(part) for part in source.splits.values()) == 1797
    for part in source.splits.values():
        assert torch.equal(part.images[:, 0], part.images[:, 2])
        for image, label in zip(part.images, part.labels, strict=True):
            assert (image[0].numpy().tobytes(), int(label)) in known


def as_bytes(bunch) -> np.ndarray:
    return (bunch.images * 255 / 16).round().astype(np.uint8)


def test_digits_grow_to_the_size_asked_for_and_are_never_mirrored() -> None:
    source = digits.load(size=20, limit=100)
    assert source.input_shape == (3, 20, 20)
    assert source.preprocessing.size == (20, 20)
    assert not source.flip


def test_digits_refuse_what_they_cannot_do() -> None:
    refused(lambda: digits.load("folder"), "folder", "leave it out")
    refused(lambda: digits.load(size=0), "512")
    refused(lambda: digits.load(size=100_000), "512")


# fractals


def small(**options) -> DataSource:
    return fractals.load(**{"classes": 4, "limit": 40, "test_images": 20, **options})


def test_fractals_are_the_same_every_time_and_others_for_other_systems() -> None:
    assert same(small(), small())
    assert not same(small(), small(systems=1))


def test_the_seed_of_a_run_changes_the_splits_and_not_the_test_images() -> None:
    def test_set(source: DataSource) -> set[bytes]:
        return {image.numpy().tobytes() for image in source.splits["test"].images}

    first, second = small(seed=0), small(seed=1)
    assert not torch.equal(first.splits["valid"].images, second.splits["valid"].images)
    assert test_set(first) == test_set(second) == test_set(small(limit=80))


@pytest.mark.parametrize(("classes", "size"), [(2, 8), (7, 33), (120, 16)])
def test_fractals_come_in_any_number_of_classes_and_any_size(classes: int, size: int) -> None:
    source = fractals.load(classes=classes, size=size, limit=5 * classes, test_images=2 * classes)
    assert len(source.classes) == classes
    assert source.input_shape == (3, size, size)
    assert torch.bincount(source.splits["test"].labels).tolist() == [2] * classes
    learnt = torch.cat([source.splits["train"].labels, source.splits["valid"].labels])
    assert torch.bincount(learnt).tolist() == [5] * classes
    assert len({bytes(image.numpy().tobytes()) for image in source.splits["train"].images}) == 4 * classes


def test_the_short_form_names_the_number_of_classes() -> None:
    assert len(fractals.load("3", limit=15, test_images=3).classes) == 3
    refused(lambda: fractals.load("three"), "fractals:20")
    refused(lambda: fractals.load("²"), "fractals:20")


@pytest.mark.parametrize(
    "options",
    [{"classes": 1}, {"size": 4}, {"size": 10_000}, {"limit": 19}, {"limit": 0}, {"test_images": 0}, {"systems": -1}],
)
def test_fractals_refuse_impossible_options(options: dict[str, int]) -> None:
    refused(lambda: small(**options), "expected at least 2 classes")


def test_colour_tells_nothing_of_the_class_of_a_fractal() -> None:
    source = fractals.load(classes=10, limit=2000, test_images=10)
    split = source.splits["train"]
    means = split.images.float().mean(dim=(2, 3))
    between = torch.stack([means[split.labels == label].mean(dim=0) for label in range(10)]).var(dim=0)
    expected = means.var(dim=0) / (len(split) / 10)
    assert (between < 4 * expected).all()


def test_shape_tells_the_class_of_a_fractal() -> None:
    source = fractals.load(classes=10, limit=1000, test_images=200)
    shapes = {name: ink(source.splits[name].images) for name in ("train", "test")}
    labels = source.splits["train"].labels
    centres = torch.stack([shapes["train"][labels == label].mean(dim=0) for label in range(10)])
    found = torch.cdist(shapes["test"], centres).argmin(dim=1)
    assert float((found == source.splits["test"].labels).float().mean()) > 0.5


def ink(images: torch.Tensor) -> torch.Tensor:
    """Return how far each pixel is from the paper, the colour in the corners, blurred."""
    paper = images[:, :, :1, :1].float()
    distance = (images.float() - paper).abs().sum(dim=1, keepdim=True)
    return torch.nn.functional.avg_pool2d(distance, 4).flatten(1)


def test_the_full_set_of_fractals_is_made_within_seconds() -> None:
    begun = time.process_time()
    source = fractals.load()
    assert time.process_time() - begun < 30
    assert {name: len(part) for name, part in source.splits.items()} == {"train": 4000, "valid": 1000, "test": 2000}


# fashion_mnist


def write_idx(path: Path, array: np.ndarray, *, packed: bool = False) -> None:
    raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if packed else raw)


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    for prefix, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = labels
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images, packed=True)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", labels)
    return tmp_path


def test_fashion_mnist_reads_idx_files_raw_and_packed(idx_folder: Path) -> None:
    source = fashion_mnist.load(str(idx_folder))
    assert {name: len(part) for name, part in source.splits.items()} == {"train": 50, "valid": 10, "test": 20}
    for part in source.splits.values():
        assert torch.equal(part.images[:, 1, 0, 0].long(), part.labels)


def test_damaged_idx_files_are_refused_by_name(idx_folder: Path) -> None:
    path = idx_folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    damaged = (
        whole[:-20], whole[:5], b"", b"nonsense", gzip.compress(gzip.decompress(whole)[:-1]),
        gzip.compress(gzip.decompress(whole) + b"x"), gzip.compress(bytes([0, 0, 9, 3]) + gzip.decompress(whole)[4:]),
        gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1)),
        whole[:40] + b"!" * 9,
    )  # fmt: skip
    for content in damaged:
        path.write_bytes(content)
        refused(lambda: fashion_mnist.load(str(idx_folder)), str(path))


def test_fashion_mnist_refuses_missing_files_wrong_counts_and_foreign_labels(idx_folder: Path) -> None:
    refused(lambda: fashion_mnist.load(str(idx_folder / "nowhere")), "dataset-fashion-mnist")
    write_idx(idx_folder / "train-labels-idx1-ubyte", np.zeros(59, np.uint8))
    refused(lambda: fashion_mnist.load(str(idx_folder)), "60 train images and 59 labels")
    write_idx(idx_folder / "train-labels-idx1-ubyte", np.arange(60, dtype=np.uint8) % 11)
    refused(lambda: fashion_mnist.load(str(idx_folder)), "label outside its 10 classes")


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_the_whole_set() -> None:
    source = fashion_mnist.load()
    assert {name: len(part) for name, part in source.splits.items()} == {"train": 54000, "valid": 6000, "test": 10000}
    assert source.preprocessing.mean[0] == pytest.approx(0.286, abs=0.01)  # of all 60,000 training images: 0.2860
    for part, each in (("train", 5400), ("valid", 600), ("test", 1000)):
        assert torch.bincount(source.splits[part].labels).tolist() == [each] * 10  # type: ignore[index]


# cifar


def write_cifar(path: Path, labels: np.ndarray, label_bytes: int) -> None:
    rows = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), label_bytes + 3072), dtype=np.uint8)
    rows[:, 0] = 7
    rows[:, label_bytes - 1] = labels
    for channel in range(3):
        rows[:, label_bytes + 1024 * channel + 33] = labels + channel  # row 1, column 1
    path.write_bytes(rows.tobytes())


@pytest.fixture
def cifar_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number in range(1, 6):
        write_cifar(folder / f"data_batch_{number}.bin", np.arange(20 + number) % 10, 1)
    write_cifar(folder / "test_batch.bin", np.arange(20) % 10, 1)
    (folder / "batches.meta.txt").write_text("\n".join(f"class{n}" for n in range(10)) + "\n\n")
    return folder


def test_cifar10_reads_all_binary_files_channels_in_their_place(cifar_folder: Path) -> None:
    for given in (cifar_folder, cifar_folder.parent):
        source = cifar10.load(str(given))
        assert len(source.splits["train"]) + len(source.splits["valid"]) == sum(range(21, 26))
        assert source.classes[3] == "class3"
        assert source.input_shape == (3, 32, 32)
        assert source.flip
        for part in source.splits.values():
            for channel in range(3):
                assert torch.equal(part.images[:, channel, 1, 1].long(), part.labels + channel)


def test_cifar100_takes_the_fine_label(tmp_path: Path) -> None:
    write_cifar(tmp_path / "train.bin", np.arange(400) % 100, 2)
    write_cifar(tmp_path / "test.bin", np.arange(100), 2)
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"fine{n}" for n in range(100)))
    source = cifar100.load(str(tmp_path))
    assert len(source.classes) == 100
    assert sorted(source.splits["test"].labels.tolist()) == list(range(100))
    assert torch.equal(source.splits["test"].images[:, 0, 1, 1].long(), source.splits["test"].labels)


def test_the_pickled_version_is_refused_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch pickled'\ntR.")
    refused(lambda: cifar10.load(str(tmp_path)), "pickle can run code", "binary version")


def test_damaged_cifar_files_are_refused_by_name(cifar_folder: Path) -> None:
    refused(lambda: cifar10.load(None), "cifar10:DIR")
    refused(lambda: cifar10.load("/nowhere/at/all"), "does not exist")
    path = cifar_folder / "data_batch_2.bin"
    whole = path.read_bytes()
    for content in (whole[:-1], b"", whole + b"x"):
        path.write_bytes(content)
        refused(lambda: cifar10.load(str(cifar_folder)), str(path), "get it again")
    path.write_bytes(b"\x0b" + whole[1:])
    refused(lambda: cifar10.load(str(cifar_folder)), "label outside its 10 classes")
    path.write_bytes(whole)
    (cifar_folder / "batches.meta.txt").write_bytes(b"\xff\xfe")
    refused(lambda: cifar10.load(str(cifar_folder)), "batches.meta.txt")
    (cifar_folder / "batches.meta.txt").unlink()
    refused(lambda: cifar10.load(str(cifar_folder)), "batches.meta.txt")
