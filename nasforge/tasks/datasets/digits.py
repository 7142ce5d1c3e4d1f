"""`digits`: scikit-learn's 1,797 handwritten digits, 8 x 8; always at hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasforge.errors import DataError
from nasforge.tasks.dataset import DataSource, make_source


def load(argument: str | None = None, *, size: int = 8, limit: int | None = None, seed: int = 0) -> DataSource:
    """Load the digits, grey repeated in three channels.

    Args:
        argument: nothing may follow the name.
        size: side in pixels; larger than 8 is upscaled.
        limit: at most so many training images, those held out for valid included.
        seed: of the splits.

    Raises:
        DataError: an argument, or a size below 1 or above 512.
    """
    from sklearn.datasets import load_digits

    if argument is not None:
        raise DataError(f"digits was given '{argument}' after the colon; it takes nothing there, leave it out.")
    if not 1 <= size <= 512:
        raise DataError(f"digits was given size {size}; expected 1 to 512 pixels.")
    bunch = load_digits()
    grey = (bunch.images * (255.0 / 16.0)).round().astype(np.uint8)
    pixels = np.repeat(np.stack([_resized(image, size) for image in grey])[..., None], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    return make_source("digits", (pixels, labels), None, tuple(map(str, range(10))), seed=seed, limit=limit)


def _resized(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    if size == image.shape[0]:
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
