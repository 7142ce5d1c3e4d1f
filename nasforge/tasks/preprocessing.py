"""How an image becomes a network's input: size, range, mean and deviation; stored with every model."""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageOps

from nasforge.errors import DataError

FITTED_ON: Final = 4096
_UNREADABLE: Final = (
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, OverflowError, AttributeError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip  # what Pillow's decoders raise on damaged files


@final
@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize to (height, width), scale to 0..1, subtract `mean`, divide by `std`, per channel."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fitted(cls, images: torch.Tensor) -> Preprocessing:
        """Take size, mean and deviation from images uint8 (N, C, H, W); of many, from 4,096 spread over them."""
        some = images[:: -(-len(images) // FITTED_ON)]
        height, width = images.shape[2:]
        total = torch.zeros(2, images.shape[1], dtype=torch.float64)
        for begin in range(0, len(some), 256):
            pixels = some[begin : begin + 256].transpose(0, 1).flatten(1).double() / 255.0
            total += torch.stack([pixels.sum(dim=1), pixels.square().sum(dim=1)])
        mean, square = total / (len(some) * height * width)
        std = (square - mean.square()).clamp_min(0.0).sqrt().clamp_min(0.05)
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
    """Return RGB pixels (H, W, 3) of a path, PIL image or uint8 array (H, W[, C]), resized to (height, width).

    Turned as the camera's note (EXIF) says; 16-bit grey keeps its upper eight bits.

    Raises:
        DataError: it cannot be read, is a decompression bomb, or has pixels of another kind.
    """
    with _opened(image) as opened:
        if size is not None:
            opened.draft("RGB", (2 * size[1], 2 * size[0]))  # a large JPEG is decoded at a half, a quarter or an eighth
        ImageOps.exif_transpose(opened, in_place=True)
        rgb = _rgb(opened, _name(image))
        if size is not None and rgb.size != (size[1], size[0]):
            rgb = rgb.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(rgb, dtype=np.uint8)


def image_size(path: str | Path) -> tuple[int, int]:
    """Return (height, width) of an image file as shown, from its header alone.

    Raises:
        DataError: as `to_pixels`.
    """
    with _opened(path) as opened:
        turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        width, height = opened.size
        return (width, height) if turned else (height, width)


@contextlib.contextmanager
def _opened(image: Any) -> Iterator[Image.Image]:
    """Open a path, or take a PIL image or an array; whatever Pillow raises inside becomes one sentence."""
    name = _name(image)
    if not isinstance(image, str | Path | np.ndarray | Image.Image):
        raise DataError(f"a {type(image).__name__} was given as an image; expected a path, a PIL image or an array.")
    if isinstance(image, np.ndarray) and (image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape):
        raise DataError(
            f"an array of {image.dtype} with shape {image.shape} was given as an image; expected uint8 (H, W[, C])."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd but readable files
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(image, Image.Image):
                yield image.copy()
            elif isinstance(image, np.ndarray):
                yield Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
            else:
                with Image.open(image) as opened:
                    yield opened
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"'{name}' unpacks to over {Image.MAX_IMAGE_PIXELS:,} pixels, so it was not opened; remove it."
        ) from error
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(
            f"'{name}' cannot be read as an image ({type(error).__name__}); repair or remove it."
        ) from error


def _name(image: Any) -> str:
    return str(image) if isinstance(image, str | Path) else "the image"


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """Return an image of any mode as RGB; transparency is dropped."""
    if image.mode == "F":
        raise DataError(f"'{name}' has floating-point pixels, whose range is not known; save it with eight bits.")
    if image.mode.startswith("I"):
        high = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
