"""`fractals`: coloured images of iterated-function systems, made on the fly; any number of classes, any size.

Each class is one random system of two to five contractions; an image jitters its coefficients by a quarter and
draws colours of its own, so colour is no cue. Fifty classes separate architectures within minutes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasforge.errors import DataError
from nasforge.rng import generator
from nasforge.tasks.dataset import DataSource, Labelled, check_memory, make_source

POINTS = 400
WARM_UP = 12


def load(
    argument: str | None = None,
    *,
    classes: int = 50,
    size: int = 32,
    limit: int | None = None,
    test_images: int = 2000,
    systems: int = 0,
    seed: int = 0,
) -> DataSource:
    """Make the images.

    Args:
        argument: number of classes, for short (`fractals:20`).
        classes: number of classes.
        size: side in pixels.
        limit: training images (with those held out for valid), 5,000 without.
        test_images: test images.
        systems: seed of the classes and of their images.
        seed: of the splits alone, so that runs of several seeds are judged on the same images.

    Raises:
        DataError: fewer than two classes, a size below 8 or above 512, fewer than five images a class, no test image.
    """
    if argument is not None:
        if not argument.isdecimal():
            raise DataError(f"fractals was given '{argument}'; expected a number of classes, such as fractals:20.")
        classes = int(argument)
    count = 5000 if limit is None else limit
    if classes < 2 or not 8 <= size <= 512 or count < 5 * classes or test_images < 1 or systems < 0:
        raise DataError(
            f"fractals was given {classes} classes, {size} pixels, {count} + {test_images} images and systems "
            f"{systems}; expected at least 2 classes, 8 to 512 pixels, 5 training images a class, a test image, and "
            "systems from 0."
        )
    check_memory("fractals", count + test_images, size)
    train = _images("train", classes, size, count, systems)
    test = _images("test", classes, size, test_images, systems)
    names = tuple(f"fractal{number:02d}" for number in range(classes))
    return make_source("fractals", train, test, names, flip=False, seed=seed)


def _images(part: str, classes: int, size: int, count: int, seed: int) -> Labelled:
    """Make the images of one part; those of test do not depend on how many there are in train."""
    chance = generator(seed, "fractals.systems", classes)
    systems = [_system(chance) for _ in range(classes)]
    rng = generator(seed, f"fractals.{part}", classes)
    labels = np.arange(count, dtype=np.int64) % classes
    rng.shuffle(labels)
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    at_once = max(1, min(256, 2**20 // size**2))
    for label, (maps, chances) in enumerate(systems):
        places = np.flatnonzero(labels == label)
        for begin in range(0, len(places), at_once):
            chosen = places[begin : begin + at_once]
            images[chosen] = _draw(maps, chances, len(chosen), size, rng)
    return images, labels


def _system(rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return affine maps (k, 2, 3) with contraction (spectral norm) .45 to .85, and probabilities by determinant."""
    count = int(rng.integers(2, 6))
    maps = np.empty((count, 2, 3))
    for number in range(count):
        matrix = rng.standard_normal((2, 2))
        maps[number, :, :2] = matrix * (rng.uniform(0.45, 0.85) / np.linalg.norm(matrix, 2))
        maps[number, :, 2] = rng.uniform(-1.0, 1.0, 2)
    weights = np.abs(np.linalg.det(maps[:, :, :2])) + 0.02
    return maps, weights / weights.sum()


def _draw(
    maps: npt.NDArray[np.float64], chances: npt.NDArray[np.float64], count: int, size: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Draw `count` instances (count, size, size, 3): jittered maps, own colours, small shift, noise .05."""
    jittered = maps[None] * (1.0 + 0.25 * rng.uniform(-1.0, 1.0, (count, *maps.shape)))
    points = rng.uniform(-1.0, 1.0, (count, POINTS, 2))
    index = np.arange(count)[:, None]
    for _ in range(WARM_UP):
        picked = jittered[index, rng.choice(len(maps), size=(count, POINTS), p=chances)]
        points = np.einsum("npij,npj->npi", picked[..., :2], points) + picked[..., 2]
    low = points.min(axis=1, keepdims=True)
    spread = np.maximum(points.max(axis=1, keepdims=True) - low, 1e-9).max(axis=2, keepdims=True)
    pixels = ((points - low) / spread * (size - 5) + 2).astype(int) + rng.integers(-2, 3, (count, 1, 2))
    pixels = np.clip(pixels, 0, size - 1)
    density = np.zeros((count, size, size))
    np.add.at(density, (np.broadcast_to(index, pixels.shape[:2]), pixels[..., 1], pixels[..., 0]), 1.0)
    ink = np.minimum(density, 1.0)[..., None]
    paper = rng.uniform(0.0, 1.0, (count, 1, 1, 3))
    colour = (paper + rng.uniform(0.35, 0.65, (count, 1, 1, 3))) % 1.0
    painted = paper * (1 - ink) + colour * ink + rng.normal(0.0, 0.05, (count, size, size, 3))
    pixels_8bit: npt.NDArray[np.uint8] = (np.clip(painted, 0.0, 1.0) * 255).astype(np.uint8)
    return pixels_8bit
