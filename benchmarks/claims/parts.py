"""What the claims share: parts that are kept when a benchmark is stopped, training of shared weights, intervals."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from nasforge.errors import DataError
from nasforge.identity import fingerprint
from nasforge.run.batches import BatchStream
from nasforge.run.data import load_source
from nasforge.run.pace import Pace
from nasforge.run.progress import Listener, Silent
from nasforge.run.shared_training import SharedTraining
from nasforge.strategy import Problem, WeightSharing
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification

PARTS = Path(__file__).parent.parent.parent / "build" / "benchmarks"
BATCH = 64


def part(name: str, settings: dict[str, Any], make: Callable[[], Any]) -> Any:
    """Return `make()`, plain data, from the file of an earlier run with equal settings where there is one."""
    path = PARTS / f"{name}-{fingerprint(settings)}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))["content"]
    begun = time.perf_counter()
    content = make()
    PARTS.mkdir(parents=True, exist_ok=True)
    written = {"settings": settings, "seconds": round(time.perf_counter() - begun, 1), "content": content}
    path.with_suffix(".new").write_text(json.dumps(written), encoding="utf-8")
    path.with_suffix(".new").replace(path)
    sys.stderr.write(f"{name} {settings}: {written['seconds']} s\n")
    return content


def result_name(claim: str, data: str, *, quick: bool) -> str:
    """Return the name of a claim's result on a data set; smoke tests have one of their own."""
    return "_".join([claim, data, *(["quick"] if quick else [])])


def source_of(data: str, seed: int) -> Any:
    """Load a data set of the claims; `cifar10` is the image folder `cifar10_images` below $NASFORGE_DATA.

    Raises:
        DataError: the folder is not there.
    """
    if data != "cifar10":
        limit = 6000 if data == "fashion_mnist" else 5000
        return load_source(data, {"limit": limit}, seed)
    folder = Path(os.environ.get("NASFORGE_DATA", "")) / "cifar10_images"
    if not folder.is_dir():
        raise DataError(f"'{folder}' does not exist; set NASFORGE_DATA to the folder that holds cifar10_images.")
    return load_source(f"image_folder:{folder}", {}, seed)


def train_shared(
    strategy: WeightSharing,
    problem: Problem,
    source: Any,
    steps: int | None,
    seed: int,
    seconds: float | None = None,
    listener: Listener | None = None,
) -> SharedTraining:
    """Train a strategy's shared weights for a number of steps of 64 images, or for a time, and return the training."""
    sealed = source.sealed()
    strategy.setup(problem)
    training = SharedTraining(
        strategy,
        problem,
        Classification(),
        BatchStream(Loader(sealed, "train", BATCH, seed, training=True)),
        BatchStream(Loader(sealed, "valid", BATCH, seed, shuffle=True)),
        Pace([phase.share for phase in strategy.phases()], steps, seconds),
        seed,
    )
    for module in training.modules.values():
        if any(parameter.dim() == 4 for parameter in module.parameters()):
            module.to(memory_format=_channels_last())
    training.run(listener or Silent(), lambda kind, state: None)
    return training


def _channels_last() -> Any:
    import torch

    return torch.channels_last


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return mean, lower and upper end of the t interval of the mean; both ends the mean for one value."""
    data = np.asarray(values, dtype=float)
    mean = float(data.mean())
    if len(data) < 2:
        return mean, mean, mean
    half = float(stats.t.ppf(0.5 + level / 2, len(data) - 1) * data.std(ddof=1) / math.sqrt(len(data)))
    return mean, mean - half, mean + half
