"""Batch n is a function of (seed, n); augmentation shifts, mirrors and cuts within its bounds, labels stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasforge.tasks import Loader, Preprocessing
from nasforge.tasks.augment import augment, cut_out
from nasforge.tasks.dataset import DataSource, Split


def toy(count: int = 50, size: tuple[int, int] = (16, 16), *, flip: bool = False) -> DataSource:
    """Return images all of one value, their number, which is their label too."""
    labels = torch.arange(count)
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, *size).contiguous()
    split = Split(images, labels)
    plain = Preprocessing(size, (0.0,) * 3, (1 / 255.0,) * 3)
    return DataSource("toy", tuple(map(str, range(count))), {"train": split, "valid": split}, plain, flip)


@given(st.integers(0, 40), st.integers(0, 3), st.lists(st.integers(0, 40), max_size=4))
def test_a_batch_depends_on_seed_and_number_alone(number: int, seed: int, before: list[int]) -> None:
    source = toy()
    used = Loader(source, "train", 8, seed, training=True, cutout=3)
    for other in before:
        used.batch(other)
    images, labels = used.batch(number)
    fresh_images, fresh_labels = Loader(source, "train", 8, seed, training=True, cutout=3).batch(number)
    assert torch.equal(images, fresh_images)
    assert torch.equal(labels, fresh_labels)


def test_each_epoch_visits_no_image_twice_in_an_order_of_its_own() -> None:
    loader = Loader(toy(), "train", 8, 0, training=True)
    assert len(loader) == 6
    epochs = [[int(x) for n in range(6) for x in loader.batch(6 * e + n)[1]] for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 48
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [int(x) for _, y in Loader(toy(), "train", 8, 1, training=True) for x in y]


def test_judging_sees_every_image_once_in_order_with_an_uneven_last_batch() -> None:
    batches = list(Loader(toy(), "valid", 8))
    assert [len(labels) for _, labels in batches] == [8] * 6 + [2]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(50))


def test_a_batch_larger_than_the_split_is_the_split() -> None:
    loader = Loader(toy(5), "train", 64, training=True)
    assert len(loader) == 1
    assert sorted(loader.batch(3)[1].tolist()) == list(range(5))


def test_augmented_images_keep_their_labels() -> None:
    images, labels = Loader(toy(flip=True), "train", 16, training=True).batch(2)
    assert torch.equal(images[:, 0, 8, 8].round().long(), labels)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_layout_is_as_asked_and_changes_no_value(channels_last: bool) -> None:
    images, _ = Loader(toy(), "train", 8, training=True, channels_last=channels_last).batch(0)
    other, _ = Loader(toy(), "train", 8, training=True, channels_last=not channels_last).batch(0)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert torch.equal(images, other)


def test_without_training_images_are_not_augmented() -> None:
    source = toy(flip=True)
    images, labels = Loader(source, "train", 16, shuffle=True, cutout=4).batch(0)
    assert torch.allclose(images, labels.view(-1, 1, 1, 1).float().expand_as(images))
    assert not torch.equal(labels, torch.arange(16))


def coordinates(height: int, width: int, count: int = 400) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(1, height + 1), torch.arange(1, width + 1), indexing="ij")
    return torch.stack([y, x]).expand(count, 2, height, width)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 8), (8, 24), (7, 40), (4, 4)])
def test_shifts_reach_an_eighth_of_each_side_and_no_further(height: int, width: int) -> None:
    moved = augment(coordinates(height, width), torch.Generator().manual_seed(0))
    rows = moved[:, 0, height // 2, width // 2] - (height // 2 + 1)
    columns = moved[:, 1, height // 2, width // 2] - (width // 2 + 1)
    assert set(rows.tolist()) == set(range(-(height // 8), height // 8 + 1))
    assert set(columns.tolist()) == set(range(-(width // 8), width // 8 + 1))


@pytest.mark.parametrize("flip", [True, False])
def test_a_shifted_image_is_the_image_moved_and_filled_with_zeros(flip: bool) -> None:
    images = coordinates(16, 24)
    moved = augment(images, torch.Generator().manual_seed(1), flip=flip)
    mirrored = 0
    for before, after in zip(images, moved, strict=True):
        row, column = int(after[0, 8, 12]) - 9, int(after[1, 8, 12])
        is_mirrored = int(after[1, 8, 11]) > column
        mirrored += is_mirrored
        line = torch.nn.functional.pad(before, (3, 3, 2, 2))[:, 2 + row : 18 + row]
        shift = (24 - column - 11) if is_mirrored else column - 13
        expected = line[:, :, 3 + shift : 27 + shift] if not is_mirrored else None
        if expected is not None:
            assert torch.equal(after, expected)
        else:
            assert torch.equal(
                after.flip(2), line[:, :, 3 + int(after[1, 8, 11]) - 13 : 27 + int(after[1, 8, 11]) - 13]
            )
    assert (mirrored > 150) if flip else (mirrored == 0)
    assert mirrored < 250


def test_a_cut_is_one_square_of_the_given_side_around_any_centre() -> None:
    for side in (1, 2, 5, 8):
        holes = (cut_out(torch.ones(4000, 3, 16, 16), side, torch.Generator().manual_seed(2)) == 0).all(dim=1)
        heights, widths = holes.any(dim=2).sum(dim=1), holes.any(dim=1).sum(dim=1)
        assert torch.equal(holes.sum(dim=(1, 2)), heights * widths)
        assert int(heights.max()) == side == int(widths.max())
        assert int(holes.any(dim=0).sum()) == 256
        whole = (heights == side) & (widths == side)
        assert 0.9 * ((17 - side) / 16) ** 2 < float(whole.float().mean()) <= 1.0


def test_a_cut_shows_the_mean_colour_not_black() -> None:
    source = toy(size=(16, 16))
    centred = Preprocessing((16, 16), (0.1,) * 3, (0.5,) * 3)
    loader = Loader(DataSource("toy", source.classes, source.splits, centred), "train", 16, training=True, cutout=6)
    images, _ = loader.batch(0)
    assert bool((images == 0.0).flatten(1).any(dim=1).all())


def test_augmenting_is_decided_by_its_generator_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state is what is looked at
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    first = Loader(toy(flip=True), "train", 8, 3, training=True, cutout=4).batch(1)[0]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # type: ignore[index]  # noqa: NPY002
    torch.manual_seed(99)
    assert torch.equal(first, Loader(toy(flip=True), "train", 8, 3, training=True, cutout=4).batch(1)[0])


def test_an_image_is_augmented_anew_in_every_epoch() -> None:
    same = Split(coordinates(16, 16, 16)[:, :1].to(torch.uint8).repeat(1, 3, 1, 1), torch.zeros(16, dtype=torch.long))
    plain = Preprocessing((16, 16), (0.0,) * 3, (1.0,) * 3)
    loader = Loader(DataSource("toy", ("a", "b"), {"train": same}, plain), "train", 8, training=True)
    batches = [loader.batch(number)[0] for number in range(6)]
    assert len({batch.numpy().tobytes() for batch in batches}) == 6
