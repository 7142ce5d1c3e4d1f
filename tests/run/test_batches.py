"""A stream of batches goes on from any place with the batch that an undisturbed stream would give."""

from collections.abc import Iterator

import pytest
import torch

from nasforge.run.batches import BatchStream


def epoch(number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for place in range(3):
        yield torch.tensor([number * 10 + place]), torch.tensor([place])


def taken(stream: BatchStream, count: int) -> list[int]:
    return [int(stream.take().images) for _ in range(count)]


def test_epochs_follow_each_other() -> None:
    assert taken(BatchStream(epoch, 3), 7) == [0, 1, 2, 10, 11, 12, 20]


@pytest.mark.parametrize("place", range(8))
def test_a_stream_set_to_a_place_goes_on_from_there(place: int) -> None:
    whole = taken(BatchStream(epoch, 3), 12)
    stream = BatchStream(epoch, 3)
    stream.taken = place
    assert taken(stream, 12 - place) == whole[place:]


def test_a_stream_may_be_set_back() -> None:
    stream = BatchStream(epoch, 3)
    first = taken(stream, 5)
    stream.taken = 0
    assert taken(stream, 5) == first
