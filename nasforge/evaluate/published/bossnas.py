"""BossNAS's published ratings of blocks (Li et al. 2021): one number for every path through every block.

The files were written with a Python tuple for each path, which a loader that keeps tags would build by running code;
they are read as text. The rating of a network is the sum of (rating of its path + 4) over the blocks; lower is better.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from nasforge.errors import DataError, unknown_name_sentence
from nasforge.evaluate.published.source import data_file

BLOCKS: Final = {"mbconv": (2, 4, 4, 4, 4), "nats_sss": (2, 2, 1)}
"""Layers in each block, by space."""
_FILES: Final = {"mbconv": "mbconv_path_rank", "nats_sss": "nats_path_rank"}
_OPTIONS: Final = {"mbconv": 4, "nats_sss": 8}
_NETWORKS: Final = "bossnas/mbconv_23_architectures.json"
_PATH: Final = re.compile(r"^- !!python/tuple\n  - '(\d+)'\n  - (-?\d+(?:\.\d+)?(?:e-?\d+)?)$", re.MULTILINE)

Ratings = tuple[Mapping[str, float], ...]
"""For each block the rating of each path, a digit for each layer."""


@final
@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network of the `mbconv` ratings that was trained alone on ImageNet.

    Attributes:
        options: the option of each layer, 0 to 3.
        accuracy: top-1, 0..1.
    """

    options: tuple[int, ...]
    accuracy: float


def block_ratings(space: str) -> Ratings:
    """Return the ratings of all paths through the blocks of `mbconv` (ImageNet) or `nats_sss` (CIFAR-10).

    Raises:
        DataError: no such ratings, or a file is missing or does not hold every path once.
    """
    if space not in BLOCKS:
        raise DataError(unknown_name_sentence("space with ratings of BossNAS", space, BLOCKS))
    return tuple(_ratings(space, number, layers) for number, layers in enumerate(BLOCKS[space]))


def _ratings(space: str, number: int, layers: int) -> Mapping[str, float]:
    path = data_file(f"bossnas/{_FILES[space]}/path_rank_{number}.yml")
    pairs = _PATH.findall(path.read_text(encoding="utf-8"))
    found = {digits: float(rating) for digits, rating in pairs}
    fits = all(len(digits) == layers and int(max(digits)) < _OPTIONS[space] for digits in found)
    if len(found) != _OPTIONS[space] ** layers or len(pairs) != len(found) or not fits:
        raise DataError(
            f"'{path}' holds {len(pairs)} ratings; expected one for each of the {_OPTIONS[space]}^{layers} paths of a "
            "block. Get it again."
        )
    return found


def rating(ratings: Ratings, options: Sequence[int]) -> float:
    """Return the rating of a network, the option of each layer given; lower is better.

    >>> rating(({"01": -3.5, "00": -3.0}, {"1": -2.5}), (0, 1, 1))
    2.0
    """
    total, start = 0.0, 0
    for block in ratings:
        layers = len(next(iter(block)))
        total += block["".join(map(str, options[start : start + layers]))] + 4.0
        start += layers
    return total


def trained_networks() -> tuple[TrainedNetwork, ...]:
    """Return the 23 networks of `mbconv` with their accuracy on ImageNet.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = data_file(_NETWORKS)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["architectures"]
        return tuple(
            TrainedNetwork(tuple(option for block in row["encoding"] for option in block), row["imagenet_top1"] / 100)
            for row in rows
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}' cannot be read ({type(error).__name__}: {error}); get it again.") from error
