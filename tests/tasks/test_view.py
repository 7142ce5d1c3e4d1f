"""Views: exact functions of the generator, the same for a part of a batch, and each change does what it says."""

import dataclasses

import numpy as np
import pytest
import torch

from nasforge.errors import UsageError
from nasforge.tasks import Loader
from nasforge.tasks.dataset import make_source
from nasforge.tasks.view import View, blurred, brightness, turned_hue

NOTHING = View(area=(1.0, 1.0), flip=0.0, jitter=0.0, grey=0.0)
STRONG = View(blur=0.5, solarise=0.5)


def images(count=12, side=16, channels=3):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8))


def drawn(view, pixels, seed=0, **part):
    return view(pixels, torch.Generator().manual_seed(seed), **part)


def test_a_view_without_changes_is_the_image():
    assert torch.allclose(drawn(NOTHING, images()), images().float(), atol=1e-3)


@pytest.mark.parametrize("view", [View(), STRONG, dataclasses.replace(NOTHING, shift=0.25)])
def test_views_follow_from_the_generator_and_stay_in_range(view):
    one, other = drawn(view, images()), drawn(view, images())
    assert torch.equal(one, other)
    assert not torch.equal(one, drawn(view, images(), seed=1))
    assert one.shape == images().shape
    assert one.min() >= -1e-3
    assert one.max() <= 255.0 + 1e-3


def test_a_part_of_a_batch_gets_what_it_would_get_in_the_whole():
    whole = drawn(STRONG, images())
    assert torch.allclose(drawn(STRONG, images()[3:7], begin=3, whole=12), whole[3:7], atol=1e-3)


def test_images_of_a_batch_are_changed_each_in_its_own_way():
    same = images(1).expand(8, -1, -1, -1)
    assert len({tuple(each.flatten().tolist()) for each in drawn(View(), same)}) == 8


def test_shifts_are_by_whole_pixels_and_mirrors_are_exact():
    shifted = drawn(dataclasses.replace(NOTHING, shift=0.125), images(64))
    inner = shifted[:, :, 4:-4, 4:-4]
    wanted = images(64).float()
    offsets = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    moved = [wanted[:, :, 4 + y : 12 + y, 4 + x : 12 + x] for y, x in offsets]
    hits = torch.stack([torch.isclose(inner, each, atol=1e-2).flatten(1).all(1) for each in moved])
    assert hits.any(dim=0).all()
    assert (hits.sum(dim=1) > 0).sum() > 9
    mirrored = drawn(dataclasses.replace(NOTHING, flip=1.0), images())
    assert torch.allclose(mirrored, images().float().flip(3), atol=1e-2)
    assert torch.allclose(
        drawn(dataclasses.replace(NOTHING, flip=1.0), images(), flip=False), images().float(), atol=1e-2
    )


def test_grey_solarisation_and_hue_do_what_they_say():
    grey = drawn(dataclasses.replace(NOTHING, grey=1.0), images())
    assert torch.allclose(grey[:, 0], grey[:, 2])
    pixels = images().float()
    solarised = drawn(dataclasses.replace(NOTHING, solarise=1.0), images())
    inside = (pixels - 127.5).abs() > 1
    assert torch.allclose(solarised[inside], torch.where(pixels >= 127.5, 255.0 - pixels, pixels)[inside], atol=1e-2)
    turned = turned_hue(pixels / 255, torch.full((12,), 0.3))
    assert torch.allclose(brightness(turned), brightness(pixels / 255), atol=1e-3)
    assert torch.allclose(turned_hue(turned, torch.full((12,), 0.7)), pixels / 255, atol=1e-3)
    smooth = blurred(pixels, torch.ones(12))
    assert smooth.flatten(1).std(1).max() < pixels.flatten(1).std(1).min()


def test_images_of_one_channel_are_taken():
    assert drawn(View(), images(channels=1)).shape == (12, 1, 16, 16)


def test_ranges_are_checked():
    for bad in ({"area": (0.0, 1.0)}, {"blur": 1.5}, {"ratio": (2.0, 1.0)}):
        with pytest.raises(UsageError, match="expected 0 < area"):
            View(**bad)


def test_the_loader_gives_the_images_of_the_batch_in_several_views_and_parts_fit():
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (80, 8, 8, 3), dtype=np.uint8), np.arange(80) % 4
    source = make_source("made", (pixels, labels), None, ("a", "b", "c", "d"))
    loader = Loader(source, "train", 16, 3, training=True)
    one, other = loader.views(5, (NOTHING, NOTHING))
    assert torch.equal(one, other)
    first, second = loader.views(5, (View(), View()))
    assert not torch.equal(first, second)
    assert torch.allclose(loader.views(5, (View(),), 4, 9)[0], first[4:9], atol=1e-4)
    plain = Loader(source, "train", 16, 3, training=False, shuffle=True)
    assert torch.allclose(one, plain.batch(5)[0], atol=1e-4)
