"""A stream of batches goes on from any place with the batch that an undisturbed stream would give."""

from dataclasses import replace

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


@pytest.mark.parametrize("given", [{"training": True, "cutout": 3}, {"shuffle": True}, {"shuffle": False}])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_parts_of_workers_make_up_the_batch_to_the_last_bit(source: DataSource, size: int, given: dict) -> None:
    """Lengths differ by one at most, and weights are what makes a mean of means the mean of the batch."""
    flipped = replace(source, flip=True)
    loader = Loader(flipped, "train", 32, seed=3, **given)
    parts = [BatchStream(Loader(flipped, "train", 32, seed=3, **given), "cpu", rank, size) for rank in range(size)]
    for number in range(2 * len(loader)):
        images, targets = loader.batch(number)
        assert loader.length(number) == len(targets)
        batches = [part.take() for part in parts]
        assert torch.equal(torch.cat([batch.images for batch in batches]), images)
        assert torch.equal(torch.cat([batch.targets for batch in batches]), targets)
        lengths = [len(batch.targets) for batch in batches]
        assert max(lengths) - min(lengths) <= 1
        means = [part.weight * float(batch.images.double().mean()) for part, batch in zip(parts, batches, strict=True)]
        assert sum(means) / size == pytest.approx(float(images.double().mean()), rel=1e-9)


def test_epochs_differ_in_order(source: DataSource) -> None:
    whole = stream(source)
    first = [whole.take().targets for _ in range(whole.batches_per_epoch)]
    second = [whole.take().targets for _ in range(whole.batches_per_epoch)]
    assert not all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
