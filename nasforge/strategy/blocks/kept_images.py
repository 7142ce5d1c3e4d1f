"""Images that are kept in checkpoints, as bytes: each channel's values from its least to its largest in 255 steps.

Views of bytes are hardly finer than that. Two views of 5,000 images of 224 pixels so take 1.5 GB and not 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor, nn

LEVELS: Final = 255


@final
class KeptImages(nn.Module):
    """A number of images of one shape; zeros before they are filled in.

    Args:
        count: how many.
        shape: (C, H, W).
    """

    pixels: Tensor
    low: Tensor
    step: Tensor

    def __init__(self, count: int, shape: Sequence[int]) -> None:
        """Allocate."""
        super().__init__()
        self.register_buffer("pixels", torch.zeros(count, *shape, dtype=torch.uint8))
        self.register_buffer("low", torch.zeros(1, shape[0], 1, 1))
        self.register_buffer("step", torch.zeros(1, shape[0], 1, 1))

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.pixels)

    def fill(self, images: Tensor) -> None:
        """Keep images, float32 (count, C, H, W)."""
        low, high = images.amin(dim=(0, 2, 3), keepdim=True), images.amax(dim=(0, 2, 3), keepdim=True)
        step = ((high - low) / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        self.pixels.copy_(((images - low) / step).round().to(torch.uint8))
        self.low.copy_(low)
        self.step.copy_(step)

    def read(self, begin: int = 0, end: int | None = None) -> Tensor:
        """Return a part of them, float32 in channels-last order, off by half a step at most."""
        found: Tensor = self.pixels[begin:end].float() * self.step + self.low
        return found.contiguous(memory_format=torch.channels_last)
