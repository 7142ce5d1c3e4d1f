"""A stream of batches goes on from any place with the batch that an undisturbed stream would give."""

import pytest
import torch

from nasforge.run.batches import BatchStream
from nasforge.tasks import Loader
from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets.digits import load


@pytest.fixture(scope="module")
def source() -> DataSource:
    return load(None, limit=120).sealed()


def stream(source: DataSource) -> BatchStream:
    return BatchStream(Loader(source, "train", 32, seed=3, training=True))


@pytest.mark.parametrize("place", range(8))
def test_a_stream_set_to_a_place_goes_on_from_there(source: DataSource, place: int) -> None:
    whole = stream(source)
    expected = [whole.take() for _ in range(10)]
    again = stream(source)
    again.taken = place
    for batch in expected[place:]:
        images, targets = again.take()
        assert torch.equal(images, batch.images)
        assert torch.equal(targets, batch.targets)


def test_epochs_differ_in_order(source: DataSource) -> None:
    whole = stream(source)
    first = [whole.take().targets for _ in range(whole.batches_per_epoch)]
    second = [whole.take().targets for _ in range(whole.batches_per_epoch)]
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
