"""Latency of blocks that were not measured, from those that were: a Gaussian process over their kernels.

For an elastic space there are far more shapes than can be measured. For each kind of operator a linear model of its
kernels (counts, MACs, bytes) gives the trend, and a Gaussian process in the logarithms of sizes the deviation from it,
with its own uncertainty (Rasmussen and Williams 2006, chapter 2). Kinds with few measured blocks have the trend alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.hardware.features import estimate_ms, kernel_features
from nasforge.space import Operator, Types

Blocks = Mapping[str, tuple[Operator, Types]]
"""Operator and types of its inputs, by latency key."""

LEAST_OF_KIND: Final = 12
"""A kind of operator has a Gaussian process from this many measured blocks on."""
TREND_ERROR: Final = 0.3
"""Assumed relative error of the linear trend where there is no Gaussian process."""

Vector = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """Milliseconds of a block that was not measured, and the relative standard deviation."""

    latency_ms: float
    error: float


def block_vector(op: Operator, inputs: Types) -> Vector:
    """Return logarithms of sizes, kernel, stride and alignment of a block, shape (n,); n depends on nothing."""
    first, last = inputs[0], op.shape(inputs)
    leaves = op.primitives(inputs)
    kernel = max((int(getattr(leaf, "kernel", 1)) for leaf, _ in leaves), default=1)
    widths = [leaf.shape(types).channels for leaf, types in leaves if types]
    hidden = max([first.channels, last.channels, *widths])
    sizes = [first.channels, last.channels, hidden, _side(first), _side(last), first.size, last.size]
    counted = kernel_features(op, inputs)
    aligned = [float(width % 16 != 0) for width in (first.channels, last.channels, hidden)]
    return np.asarray([*map(math.log1p, sizes), kernel, *np.log1p(1e3 * counted), *aligned, float(hidden % 8 != 0)])


def _side(kind: Any) -> int:
    return int(getattr(kind, "height", 1) or 1)


@final
class BlockModel:
    """Estimates for blocks of one kind and of others, from measured ones.

    Args:
        blocks: operator and input types by key, of the measured blocks and of those that will be asked for.
        entries: measured milliseconds by key.
        coefficients: linear trends by kind of operator, and of all (`*`), as `fit_kernels` gives them.
        scales: length scales by kind, as `fit` returned them; without, they are fitted.
    """

    def __init__(
        self,
        blocks: Blocks,
        entries: Mapping[str, float],
        coefficients: Mapping[str, Sequence[float]],
        scales: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Fit the processes."""
        self._blocks, self._coefficients = blocks, coefficients
        self._processes: dict[str, Any] = {}
        kinds: dict[str, list[str]] = {}
        for key in sorted(entries):
            if key in blocks:
                kinds.setdefault(type(blocks[key][0]).__name__, []).append(key)
        for kind, keys in kinds.items():
            if len(keys) >= LEAST_OF_KIND and (scales is None or kind in scales):
                rows = np.stack([block_vector(*blocks[key]) for key in keys])
                deviations = np.asarray([math.log(entries[key] / self._trend(key)) for key in keys])
                self._processes[kind] = _fitted(rows, deviations, None if scales is None else scales[kind])

    @property
    def scales(self) -> dict[str, list[float]]:
        """Logarithms of the hyper-parameters of each kind's process: plain data from which it is made again."""
        return {kind: [float(value) for value in found[0].kernel_.theta] for kind, found in self._processes.items()}

    def estimates(self, keys: Sequence[str]) -> dict[str, Estimate]:
        """Return an estimate for each key."""
        found: dict[str, Estimate] = {}
        kinds: dict[str, list[str]] = {}
        for key in keys:
            kinds.setdefault(type(self._blocks[key][0]).__name__, []).append(key)
        for kind, members in kinds.items():
            if kind not in self._processes:
                found.update({key: Estimate(self._trend(key), TREND_ERROR) for key in members})
                continue
            process, centre, spread = self._processes[kind]
            rows = np.stack([block_vector(*self._blocks[key]) for key in members])
            means, deviations = process.predict((rows - centre) / spread, return_std=True)
            for key, mean, deviation in zip(members, means, deviations, strict=True):
                found[key] = Estimate(self._trend(key) * math.exp(float(mean)), float(deviation))
        return found

    def _trend(self, key: str) -> float:
        return estimate_ms(self._coefficients, *self._blocks[key])


def _fitted(rows: Vector, deviations: Vector, theta: Sequence[float] | None) -> tuple[Any, Vector, Vector]:
    """Return a process over scaled rows, with their centre and spread."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    size = rows.shape[1]
    kernel = ConstantKernel(0.1, (1e-4, 10.0)) * Matern(np.full(size, 3.0), (0.3, 100.0), nu=2.5) + WhiteKernel(
        1e-3, (1e-6, 0.1)
    )
    if theta is None:
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=0)
    else:
        process = GaussianProcessRegressor(kernel.clone_with_theta(np.asarray(theta)), normalize_y=True, optimizer=None)
    with warnings.catch_warnings():  # a scale at its bound means that a size does not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit((rows - centre) / spread, deviations)
    return process, centre, spread
