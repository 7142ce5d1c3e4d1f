"""Images kept as bytes: how far off they are, and that they are small and go through a checkpoint."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from nasforge.strategy.blocks.kept_images import KeptImages


@given(seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_images_are_off_by_half_a_step_of_their_channel_at_most(seed, scale, shift):
    images = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * scale + shift
    kept = KeptImages(5, (3, 4, 4))
    kept.fill(images)
    spread = images.amax(dim=(0, 2, 3)) - images.amin(dim=(0, 2, 3))
    off = (kept.read() - images).abs().amax(dim=(0, 2, 3))
    assert (off <= spread / 255 / 2 + 1e-5 * images.abs().max()).all()
    assert torch.equal(kept.read(1, 3), kept.read()[1:3])
    again = KeptImages(5, (3, 4, 4))
    again.load_state_dict(kept.state_dict())
    assert torch.equal(again.read(), kept.read())


def test_images_of_one_value_are_exact():
    kept = KeptImages(2, (3, 4, 4))
    kept.fill(torch.full((2, 3, 4, 4), 0.7))
    assert torch.equal(kept.read(), torch.full((2, 3, 4, 4), 0.7))


def test_an_image_takes_a_byte_for_each_value():
    kept = KeptImages(100, (3, 32, 32))
    assert len(kept) == 100
    assert sum(each.nbytes for each in kept.buffers()) <= 100 * 3 * 32 * 32 + 100
