"""How an image becomes a network's input: size, range, mean and deviation; stored with every model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from nasforge.errors import DataError


@final
@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize to (height, width), scale to 0..1, subtract `mean`, divide by `std`, per channel."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fitted(cls, images: torch.Tensor) -> Preprocessing:
        """Take size, mean and deviation from images uint8 (N, C, H, W)."""
        some = images[:4096].float() / 255.0
        mean = some.mean(dim=(0, 2, 3))
        std = some.std(dim=(0, 2, 3)).clamp_min(0.05)
        height, width = images.shape[2:]
        return cls(
            (int(height), int(width)),
            tuple(round(v, 6) for v in mean.tolist()),
            tuple(round(v, 6) for v in std.tolist()),
        )

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 (N, C, H, W) of the right size into the network's float32 input."""
        mean = torch.tensor(self.mean).view(1, -1, 1, 1) * 255.0
        std = torch.tensor(self.std).view(1, -1, 1, 1) * 255.0
        return (images.float() - mean) / std

    def __call__(self, image: Any) -> torch.Tensor:
        """Turn one image (path, PIL image or uint8 array (H, W[, C])) into (C, H, W) float32.

        Raises:
            DataError: it cannot be read.
        """
        pixels = to_pixels(image, self.size)
        return self.normalise(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None])[0]

    def to_metadata(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
            "colour": "RGB",
            "range": "0..1",
        }

    @classmethod
    def from_metadata(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Read what `to_metadata` wrote."""
        height, width = map(int, data["size"])
        return cls((height, width), tuple(map(float, data["mean"])), tuple(map(float, data["std"])))


def to_pixels(image: Any, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """Return RGB pixels (H, W, 3) of a path, PIL image or array, resized to (height, width).

    Raises:
        DataError: it cannot be read, or is a decompression bomb.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.astype(np.uint8))
    where = str(image) if isinstance(image, str | Path) else "the image"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(image) if isinstance(image, str | Path) else image
            if opened.mode == "P" or "transparency" in opened.info:
                opened = opened.convert("RGBA")
            rgb = opened.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"'{where}' unpacks to over {Image.MAX_IMAGE_PIXELS:,} pixels, so it was not opened; remove it."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"'{where}' cannot be read as an image ({type(error).__name__}); repair or remove it."
        ) from error
    if size is not None and rgb.size != (size[1], size[0]):
        rgb = rgb.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(rgb, dtype=np.uint8)
