"""Augmentation of batches, deterministic in the generator: before normalising, and after it (`cut_out`).

Images that are a part of a batch (`begin`, `whole`) get what they would get in it.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def augment(
    images: torch.Tensor, rng: torch.Generator, *, flip: bool = False, begin: int = 0, whole: int | None = None
) -> torch.Tensor:
    """Shift each image by up to an eighth of its sides (zero-filled), and mirror half of them.

    Args:
        images: (N, C, H, W), any dtype.
        rng: of torch.
        flip: whether to mirror.
        begin: number of the first image in its batch.
        whole: images of the batch; None: these.

    Returns:
        The same shape and dtype.
    """
    count, _, height, width = images.shape
    drawn, kept = whole or count, slice(begin, begin + count)
    down, right = height // 8, width // 8
    rows = torch.randint(-down, down + 1, (drawn,), generator=rng)[kept]
    columns = torch.randint(-right, right + 1, (drawn,), generator=rng)[kept]
    padded = functional.pad(images, (right, right, down, down))
    y = torch.arange(height).view(1, -1) + rows.view(-1, 1) + down
    x = torch.arange(width).view(1, -1) + columns.view(-1, 1) + right
    if flip:
        mirrored = torch.rand(drawn, generator=rng)[kept] < 0.5
        x = torch.where(mirrored.view(-1, 1), x.flip(1), x)
    shifted = padded[torch.arange(count).view(-1, 1, 1), :, y.unsqueeze(2), x.unsqueeze(1)]
    return shifted.permute(0, 3, 1, 2)


def cut_out(
    inputs: torch.Tensor, side: int, rng: torch.Generator, *, begin: int = 0, whole: int | None = None
) -> torch.Tensor:
    """Set a square of each normalised image (N, C, H, W) to 0, the mean colour (DeVries & Taylor 2017, section 3).

    The square's centre is anywhere in the image, so a part of it may lie outside.
    """
    count, _, height, width = inputs.shape
    drawn, kept = whole or count, slice(begin, begin + count)
    rows = _span(height, side, torch.randint(height, (drawn, 1), generator=rng)[kept])
    columns = _span(width, side, torch.randint(width, (drawn, 1), generator=rng)[kept])
    return inputs.masked_fill((rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1), 0.0)


def _span(size: int, side: int, centre: torch.Tensor) -> torch.Tensor:
    """Return (N, size): whether a place lies within the `side` places around each centre (N, 1)."""
    offset = torch.arange(size).view(1, -1) - (centre - side // 2)
    return (offset >= 0) & (offset < side)
