"""Splits are disjoint, balanced and decided by the seed; a sealed source gives no test image by any door."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import DataError, SplitError
from nasforge.tasks import Loader, make_source
from nasforge.tasks.dataset import SPLITS, DataSource, Labelled, balanced_split, check_memory

LABELS = st.lists(st.integers(2, 30), min_size=1, max_size=8).flatmap(
    lambda counts: st.permutations([label for label, count in enumerate(counts) for _ in range(count)])
)


def marked(counts: tuple[int, ...], size: int = 4, first: int = 0) -> Labelled:
    """Return images whose first pixels hold their number, so that each can be found again."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), size, size, 3), dtype=np.uint8)
    numbers = np.arange(len(labels)) + first
    images[:, 0, 0, 0], images[:, 0, 0, 1], images[:, 0, 0, 2] = numbers % 256, numbers // 256, labels
    return images, labels.astype(np.int64)


def numbers(source: DataSource, split: str) -> list[int]:
    images = source.splits[split].images.int()  # type: ignore[index]
    return (images[:, 0, 0, 0] + 256 * images[:, 1, 0, 0]).tolist()


def three(counts: tuple[int, ...] = (40, 60, 100), seed: int = 0, **options: object) -> DataSource:
    return make_source("toy", marked(counts), None, tuple("abcdefgh"[: len(counts)]), seed=seed, **options)  # type: ignore[arg-type]


@given(LABELS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_balanced_split_takes_the_exact_total_and_each_class_its_share(
    labels: list[int], share: float, seed: int
) -> None:
    array = np.asarray(labels)
    rest, held = balanced_split(array, share, seed, "any")
    assert sorted([*rest, *held]) == list(range(len(labels)))
    classes = np.unique(array)
    for label in classes:
        count, taken = int((array == label).sum()), int((array[held] == label).sum())
        assert 1 <= taken <= count - 1
        if len(classes) <= share * len(labels) <= len(labels) - len(classes):
            assert abs(taken - share * count) <= len(classes)
    assert len(held) == np.clip(round(share * len(labels)), len(classes), len(labels) - len(classes))


def test_a_balanced_split_of_many_small_classes_holds_the_total() -> None:
    labels = np.repeat(np.arange(40), 7)
    _, held = balanced_split(labels, 0.2, 0, "any")
    assert len(held) == 56  # rounding each class alone would give 40


def test_splits_are_disjoint_complete_and_keep_their_labels() -> None:
    source = three()
    found = {split: numbers(source, split) for split in SPLITS}
    assert sorted(number for part in found.values() for number in part) == list(range(200))
    for split in SPLITS:
        part = source.splits[split]
        assert torch.equal(part.images[:, 2, 0, 0].long(), part.labels)
    assert {split: len(found[split]) for split in SPLITS} == {"train": 128, "valid": 32, "test": 40}


def test_each_split_holds_each_class_in_proportion() -> None:
    source = three()
    for split, total in (("train", 128), ("valid", 32), ("test", 40)):
        counts = torch.bincount(source.splits[split].labels, minlength=3)  # type: ignore[index]
        assert counts.tolist() == pytest.approx([total * share for share in (0.2, 0.3, 0.5)], abs=1)


def test_the_seed_decides_the_splits() -> None:
    assert [numbers(three(seed=3), s) for s in SPLITS] == [numbers(three(seed=3), s) for s in SPLITS]
    assert set(numbers(three(seed=3), "test")) != set(numbers(three(seed=4), "test"))
    assert set(numbers(three(seed=3), "valid")) != set(numbers(three(seed=4), "valid"))


def test_valid_is_held_out_of_train_and_a_given_test_is_left_whole() -> None:
    source = make_source("toy", marked((50, 50)), marked((5, 5), first=1000), ("a", "b"), limit=20)
    assert sorted(numbers(source, "test")) == list(range(1000, 1010))
    assert len(numbers(source, "train")) + len(numbers(source, "valid")) == 20
    assert not set(numbers(source, "train")) & set(numbers(source, "valid"))
    assert max(numbers(source, "train") + numbers(source, "valid")) < 1000


def test_a_given_valid_is_used_as_it_is() -> None:
    source = make_source("toy", marked((9, 9)), marked((2, 2), first=500), ("a", "b"), valid=marked((3, 3), first=900))
    assert sorted(numbers(source, "train")) == list(range(18))
    assert sorted(numbers(source, "valid")) == list(range(900, 906))


def test_the_first_images_of_a_split_are_a_mixture_of_classes() -> None:
    for split in SPLITS:
        assert len(set(three().splits[split].labels[:8].tolist())) > 1
    given_test = make_source("toy", marked((50, 50)), marked((50, 50)), ("a", "b"))
    assert set(given_test.splits["test"].labels[:12].tolist()) == {0, 1}


@pytest.mark.parametrize("limit", [11, 31, 100, 140, 5000])
def test_a_limit_is_exact_and_balanced(limit: int) -> None:
    source = three(limit=limit)
    labels = torch.cat([source.splits["train"].labels, source.splits["valid"].labels])
    assert len(labels) == min(limit, 160)
    if limit > 11:
        assert torch.bincount(labels).tolist() == pytest.approx([len(labels) * s for s in (0.2, 0.3, 0.5)], abs=1)


def test_the_test_images_do_not_depend_on_the_limit() -> None:
    assert numbers(three(limit=30), "test") == numbers(three(), "test")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: three((40,)), "at least two"),
        (lambda: three((10, 1)), "1 image of class 'b'"),
        (lambda: three((10, 2)), "2 images of class 'b'"),
        (lambda: make_source("toy", marked((10, 1)), marked((3, 3)), ("a", "b")), "1 image of class 'b'"),
        (lambda: make_source("toy", marked((10,)), marked((3,)), ("a", "b")), "0 images of class 'b'"),
        (lambda: make_source("toy", marked((10, 10, 10)), marked((3, 3)), ("a", "b")), "outside its 2 classes"),
        (lambda: make_source("toy", marked((10, 10)), marked((3, 3, 3)), ("a", "b")), "outside its 2 classes"),
        (lambda: make_source("toy", marked((10, 10)), marked((0, 0)), ("a", "b")), "no image for its test split"),
        (lambda: three(limit=0), "above zero"),
        (lambda: three(limit=-3), "above zero"),
        (lambda: three(limit=2), "raise the limit"),
        (lambda: check_memory("toy", 10**9, 224), "GiB"),
    ],
)
def test_data_that_cannot_be_split_are_refused_in_one_sentence(make, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        make()
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "carry",
    [
        lambda source: source,
        copy.copy,
        copy.deepcopy,
        lambda source: pickle.loads(pickle.dumps(source)),
        lambda source: source.sealed(),
        lambda source: dataclasses.replace(source, name="other"),
    ],
)
def test_a_sealed_source_gives_no_test_image_by_any_door(carry) -> None:
    secret = set(numbers(three(), "test"))
    sealed = carry(three().sealed())
    with pytest.raises(SplitError):
        sealed.split("test")
    with pytest.raises(SplitError):
        Loader(sealed, "test")
    assert "test" not in sealed.splits
    seen = set(numbers(sealed, "train")) | set(numbers(sealed, "valid"))
    assert not seen & secret


def test_unsealing_by_force_finds_no_test_images() -> None:
    with pytest.raises(DataError):
        dataclasses.replace(three().sealed(), is_sealed=False).split("test")


def test_pickled_sealed_bytes_do_not_hold_the_test_images() -> None:
    images, labels = marked((20, 20))
    images[:] = np.random.default_rng(0).integers(0, 256, images.shape)
    source = make_source("toy", (images, labels), None, ("a", "b"))
    stored = pickle.dumps(source.sealed())
    assert source.splits["train"].images[0].numpy().tobytes() in stored
    assert not any(image.numpy().tobytes() in stored for image in source.splits["test"].images)


def test_sealing_leaves_the_open_source_open() -> None:
    source = three()
    source.sealed()
    assert len(source.split("test")) == 40


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="train, valid, test"):
        three().split("tset")  # type: ignore[arg-type]
