"""Augmentation of whole batches, deterministic in the generator."""

from __future__ import annotations

import torch
from torch.nn import functional


def augment(images: torch.Tensor, rng: torch.Generator, *, flip: bool = False, cutout: int = 0) -> torch.Tensor:
    """Shift each image by up to an eighth of its size (zero-filled), mirror half of them, cut a square out.

    Args:
        images: (N, C, H, W), any dtype.
        rng: of torch.
        flip: whether to mirror.
        cutout: side of the square in pixels, 0 for none (DeVries & Taylor 2017).

    Returns:
        The same shape and dtype.
    """
    count, _, height, width = images.shape
    reach = max(1, height // 8)
    rows = torch.randint(-reach, reach + 1, (count,), generator=rng)
    columns = torch.randint(-reach, reach + 1, (count,), generator=rng)
    padded = functional.pad(images, (reach, reach, reach, reach))
    y = torch.arange(height).view(1, -1) + rows.view(-1, 1) + reach
    x = torch.arange(width).view(1, -1) + columns.view(-1, 1) + reach
    if flip:
        mirrored = torch.rand(count, generator=rng) < 0.5
        x = torch.where(mirrored.view(-1, 1), x.flip(1), x)
    shifted = padded[torch.arange(count).view(-1, 1, 1), :, y.unsqueeze(2), x.unsqueeze(1)].permute(0, 3, 1, 2)
    if cutout:
        shifted = shifted * _holes(count, height, width, cutout, rng).to(shifted.dtype)
    return shifted


def _holes(count: int, height: int, width: int, side: int, rng: torch.Generator) -> torch.Tensor:
    """Return masks (N, 1, H, W), 0 inside a square around a random centre."""
    y = torch.randint(height, (count, 1), generator=rng)
    x = torch.randint(width, (count, 1), generator=rng)
    rows = (torch.arange(height).view(1, -1) - y).abs() * 2 < side
    columns = (torch.arange(width).view(1, -1) - x).abs() * 2 < side
    return (~(rows.unsqueeze(2) & columns.unsqueeze(1))).unsqueeze(1)
