"""Preprocessing is fitted on train alone, survives JSON, and treats a file as the data set treated it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nasforge.tasks import Loader, Preprocessing, make_source
from nasforge.tasks.datasets import image_folder

VALUES = st.floats(0.0, 1.0, allow_nan=False)


@given(st.integers(1, 300), st.integers(1, 300), st.tuples(VALUES, VALUES, VALUES), st.tuples(VALUES, VALUES, VALUES))
def test_metadata_round_trip_is_exact(height: int, width: int, mean: tuple, std: tuple) -> None:
    given_ = Preprocessing((height, width), mean, std)
    assert Preprocessing.from_metadata(json.loads(json.dumps(given_.to_metadata()))) == given_


def test_mean_and_deviation_are_those_of_the_pixels() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (700, 3, 5, 6), dtype=np.uint8))
    images[:, 1] //= 2
    fitted = Preprocessing.fitted(images)
    shares = images.double() / 255
    assert fitted.size == (5, 6)
    assert fitted.mean == pytest.approx(shares.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert fitted.std == pytest.approx(shares.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-6)
    ready = fitted.normalise(images)
    assert ready.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (ready.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3


def test_a_large_sorted_set_is_fitted_on_all_of_it_not_on_its_beginning() -> None:
    images = torch.zeros(10000, 3, 2, 2, dtype=torch.uint8)
    images[5000:] = 255
    assert Preprocessing.fitted(images).mean == pytest.approx((0.5,) * 3, abs=0.01)


def test_a_constant_set_does_not_divide_by_zero() -> None:
    fitted = Preprocessing.fitted(torch.full((10, 3, 2, 2), 7, dtype=torch.uint8))
    assert torch.isfinite(fitted.normalise(torch.full((1, 3, 2, 2), 9, dtype=torch.uint8))).all()


def test_only_train_is_fitted_on() -> None:
    images = np.random.default_rng(0).integers(0, 100, (40, 4, 4, 3), dtype=np.uint8)
    labels = np.arange(40, dtype=np.int64) % 2
    bright = np.full_like(images, 255)
    plain = make_source("toy", (images, labels), (images, labels), ("a", "b"), valid=(images, labels))
    other = make_source("toy", (images, labels), (bright, labels), ("a", "b"), valid=(bright, labels))
    assert plain.preprocessing == other.preprocessing


def test_a_file_is_prepared_exactly_as_the_data_set_prepared_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 1)):
        for name in ("cat", "dog"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (30, 25 + number, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
    source = image_folder.load(str(tmp_path), size=24)
    stored = Preprocessing.from_metadata(json.loads(json.dumps(source.preprocessing.to_metadata())))
    batch, labels = next(iter(Loader(source, "test", 2)))
    for image, label in zip(batch, labels, strict=True):
        path = tmp_path / "test" / source.classes[int(label)] / "0.jpg"
        assert torch.equal(stored(path), image)
        with Image.open(path) as opened:
            assert torch.equal(stored(opened), image)
