"""A device learnt from the latencies of whole networks: no kernel is ever timed alone.

The time of every kernel is a Gaussian process over what the kernel is, and a network's time is the sum over its kernels
and a constant, so whole networks are observations of sums. The most probable times then add up like a table of measured
blocks, and need neither the device nor many networks: what kernels share (their family, kind, alignment, and being near
in resolution and channels) is what a few dozen networks say. Errors are relative, as devices' are, and no kernel takes
less than nothing. How noisy the device is and how far kernels differ is chosen by the error of leaving networks out
(Rasmussen & Williams 2006, section 5.4.2), inside the given networks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from nasforge.hardware.cost import AdditiveCost, Cost, WalkCost
from nasforge.hardware.kernel import Kernel, kernels_of, network_kernels, positions
from nasforge.hardware.predictor import agreement
from nasforge.space import Lowered, SearchSpace

METRIC: Final = "latency_ms_predicted"
Array = npt.NDArray[np.float64]
Nodes = Sequence[Sequence[Kernel]]
"""The kernels of a network, node by node."""
LEAST_NETWORKS: Final = 10
FOLDS: Final = 10
NOISES: Final = (0.003, 0.01, 0.03, 0.06, 0.1)
"""Relative errors of a measured network that are tried."""
SPREADS: Final = (0.1, 0.3, 0.6)
"""How far kernels of one kind may differ by where they lie, over the mean: what is tried."""
_COMMON, _FAMILY, _KIND, _ALIGNMENT, _OFFSET = 0.3, 0.2, 0.2, 0.5, 0.5
"""Prior standard deviations over a mean of 1/3 for each size: of all kernels, of a family, of a kind; of alignment over
the spread; and of the constant over the median network."""
_LENGTH: Final = 1.5
"""Kernels resemble each other within this many doublings of resolution or channels."""
_LEAST: Final = 0.05
"""No kernel is faster than this share of its prior mean."""
_JITTER: Final = 1e-6
"""Added to prior variances, relative, so that kernels alike to the last digit can be told apart."""
_TUNED_ON: Final = 400
"""Hyper-parameters are chosen on at most so many networks."""


@final
@dataclass(frozen=True)
class WholeNetworkFit:
    """The most probable times of kernels, given whole networks.

    Attributes:
        kernels: the different kernels of the networks, (u,).
        counts: how often each network runs each kernel, (n, u).
        measured_ms: of the networks, (n,).
        noise: relative error of a measured network.
        spread: how far kernels of one kind differ.
    """

    kernels: tuple[Kernel, ...]
    counts: Array
    measured_ms: Array
    noise: float
    spread: float

    @cached_property
    def median_ms(self) -> float:
        """The unit of latency."""
        return float(np.median(self.measured_ms))

    @cached_property
    def units(self) -> Array:
        """Mean calls, MACs and bytes of a network: the units of size, (3,)."""
        means: Array = (self.counts @ _sizes(self.kernels)).mean(axis=0)
        return np.maximum(means, 1e-12)

    def prior(self, kernels: Sequence[Kernel]) -> Array:
        """Return the prior means of kernels' times over the median, (k,)."""
        found: Array = (_sizes(kernels) / self.units).mean(axis=1)
        return found

    def covariance(self, left: Sequence[Kernel], right: Sequence[Kernel]) -> Array:
        """Return the prior covariances of kernels' times over the median, (l, r)."""
        sizes: Array = (_sizes(left) / self.units) @ (_sizes(right) / self.units).T
        return sizes * _resemblance(left, right, self.spread)

    @cached_property
    def _truth(self) -> Array:
        found: Array = self.measured_ms / self.median_ms
        return found

    @cached_property
    def _gram(self) -> Array:
        found = self.covariance(self.kernels, self.kernels)
        return found + _JITTER * np.diag(np.diag(found))

    @cached_property
    def _inverse(self) -> Array:
        """Inverse covariance of what was measured, (n, n)."""
        networks = self.counts @ self._gram @ self.counts.T + _OFFSET**2
        return _inverted(networks, self.noise * self._truth)

    def left_out_errors(self, noises: Sequence[float]) -> list[float]:
        """Return, for each noise, the root mean squared relative error of networks predicted from the others."""
        networks = self.counts @ self._gram @ self.counts.T + _OFFSET**2
        surprise = self._truth - self.counts @ self.prior(self.kernels)
        errors = []
        for noise in noises:
            inverse = _inverted(networks, noise * self._truth)
            relative = inverse @ surprise / np.diag(inverse) / self._truth
            errors.append(float(np.sqrt((relative**2).mean())))
        return errors

    @cached_property
    def _solution(self) -> tuple[Array, float]:
        """The most probable times of the kernels, none below its least, and the constant, over the median."""
        deviations = np.sqrt(np.diag(self._gram))
        factor = np.linalg.cholesky(self._gram / np.outer(deviations, deviations))
        whitening = np.linalg.inv(factor) / deviations[None]
        prior = self.prior(self.kernels)
        sigma = self.noise * self._truth
        above = whitening @ prior * (1.0 - _LEAST)  # both sides of the prior, seen from the least times
        size = len(prior)
        rows = np.zeros((size + 1 + len(sigma), size + 1))
        rows[:size, :size], rows[size, size] = whitening, 1.0 / _OFFSET
        rows[size + 1 :] = np.column_stack([self.counts, np.ones(len(sigma))]) / sigma[:, None]
        aims = np.concatenate([above, [0.0], (self._truth - self.counts @ (_LEAST * prior)) / sigma])
        solution, _ = nnls(rows, aims)
        return solution[:-1] + _LEAST * prior, float(solution[-1])

    @cached_property
    def _weights(self) -> Array:
        """What each known kernel adds to the times of all, (u,)."""
        found = np.linalg.solve(self._gram, self._solution[0] - self.prior(self.kernels))
        return np.asarray(found, dtype=np.float64)

    @property
    def offset_ms(self) -> float:
        """The constant of every network."""
        return self.median_ms * self._solution[1]

    @cached_property
    def _known(self) -> dict[Kernel, float]:
        return {}

    def node_ms(self, kernels: Sequence[Kernel]) -> float:
        """Return the milliseconds of a node by its kernels; 0.0 where it runs none."""
        missing = [each for each in dict.fromkeys(kernels) if each not in self._known]
        if missing:
            prior = self.prior(missing)
            means = prior + self.covariance(missing, self.kernels) @ self._weights
            self._known.update(zip(missing, np.maximum(means, _LEAST * prior).tolist(), strict=True))
        return self.median_ms * sum(self._known[each] for each in kernels)

    def network_ms(self, nodes: Nodes) -> float:
        """Return the milliseconds of a network by the kernels of its nodes."""
        return self.offset_ms + sum(self.node_ms(node) for node in nodes)

    def deviation(self, networks: Sequence[Nodes]) -> Array:
        """Return the model's standard deviation of networks' times over their prediction, without noise, (m,)."""
        kernels, counts = count_kernels(networks)
        own = counts @ self.covariance(kernels, kernels) @ counts.T + _OFFSET**2
        shared = counts @ self.covariance(kernels, self.kernels) @ self.counts.T + _OFFSET**2
        variance = np.diag(own) - np.einsum("ij,jk,ik->i", shared, self._inverse, shared)
        predicted = np.asarray([self.network_ms(nodes) for nodes in networks]) / self.median_ms
        found: Array = np.sqrt(np.maximum(variance, 0.0)) / predicted
        return found

    def cost(self, space: SearchSpace) -> Cost:
        """Return the latency of a space's architectures in milliseconds, additive over nodes."""
        cost = space.additive(METRIC, lambda op, types: self.node_ms(kernels_of(op, types)))
        if isinstance(cost, AdditiveCost):
            return cost.scaled(1.0, self.offset_ms)
        return WalkCost(METRIC, lambda architecture: cost(architecture) + self.offset_ms, space.fingerprint)


def fit_networks(networks: Sequence[Nodes], measured_ms: Sequence[float]) -> WholeNetworkFit:
    """Fit kernels to whole networks; noise and spread by leaving networks out.

    Args:
        networks: the kernels of each, see `network_kernels`.
        measured_ms: of each.
    """
    kernels, counts = count_kernels(networks)
    truth = np.asarray(measured_ms, dtype=np.float64)
    tuned = slice(0, _TUNED_ON)
    tried = [
        (error, noise, spread)
        for spread in SPREADS
        for noise, error in zip(
            NOISES,
            WholeNetworkFit(kernels, counts[tuned], truth[tuned], NOISES[0], spread).left_out_errors(NOISES),
            strict=True,
        )
    ]
    _, noise, spread = min(tried)
    return WholeNetworkFit(kernels, counts, truth, noise, spread)


def fit_lowered(networks: Sequence[Lowered], measured_ms: Sequence[float]) -> WholeNetworkFit:
    """Fit to lowered networks, see `fit_networks`."""
    return fit_networks([network_kernels(network) for network in networks], measured_ms)


def cross_validate(
    networks: Sequence[Nodes], measured_ms: Sequence[float], progress: Callable[[float, float], None] | None = None
) -> dict[str, float]:
    """Predict each network from the other folds, hyper-parameters chosen there too.

    Args:
        networks: the kernels of each.
        measured_ms: of each.
        progress: hears of folds done and in total.

    Returns:
        What `agreement` returns, and `explained_variance`, the share of the variance of latency that is predicted.
    """
    guess = left_out_guesses(networks, measured_ms, progress)
    return compared(guess, np.asarray(measured_ms, dtype=np.float64))


def left_out_guesses(
    networks: Sequence[Nodes], measured_ms: Sequence[float], progress: Callable[[float, float], None] | None = None
) -> Array:
    """Return the latency of each network as the other folds predict it, (n,); see `cross_validate`."""
    truth = np.asarray(measured_ms, dtype=np.float64)
    guess = np.zeros(len(truth))
    folds = folds_of(len(truth))
    for number, held_out in enumerate(folds):
        kept = np.setdiff1d(np.arange(len(truth)), held_out)
        fit = fit_networks([networks[i] for i in kept], truth[kept].tolist())
        guess[held_out] = [fit.network_ms(networks[i]) for i in held_out]
        if progress is not None:
            progress(number + 1, len(folds))
    return guess


def folds_of(count: int) -> list[npt.NDArray[np.intp]]:
    """Return the numbers of the networks that each fold holds out."""
    return np.array_split(np.random.default_rng(0).permutation(count), min(FOLDS, count))


def compared(predicted: Array, measured: Array) -> dict[str, float]:
    """Return `agreement` with the explained share of variance (0 where nothing varies)."""
    variance = float(measured.var())
    explained = 1.0 - float(((predicted - measured) ** 2).mean()) / variance if variance > 0.0 else 0.0
    return {**agreement(predicted.tolist(), measured.tolist()), "explained_variance": explained}


def count_kernels(networks: Sequence[Nodes]) -> tuple[tuple[Kernel, ...], Array]:
    """Return the different kernels of networks, and how often each network runs each, (n, u)."""
    number: dict[Kernel, int] = {}
    flat = [[number.setdefault(each, len(number)) for node in nodes for each in node] for nodes in networks]
    counts = np.zeros((len(flat), len(number)))
    for row, places in zip(counts, flat, strict=True):
        np.add.at(row, places, 1.0)
    return tuple(number), counts


def _sizes(kernels: Sequence[Kernel]) -> Array:
    """Return calls, MACs and bytes, (k, 3)."""
    return np.asarray([(1.0, each.macs, each.moved) for each in kernels], dtype=np.float64).reshape(-1, 3)


def _resemblance(left: Sequence[Kernel], right: Sequence[Kernel], spread: float) -> Array:
    """Return the prior covariance of kernels' times for each unit of size, (l, r)."""
    same_family = _equal([each.family for each in left], [each.family for each in right])
    same_kind = _equal([each.kind for each in left], [each.kind for each in right])
    aligned = _equal([each.alignment for each in left], [each.alignment for each in right])
    near = np.ones((len(left), len(right)))
    for ours, theirs in zip(positions(left), positions(right), strict=True):
        near *= np.exp(-0.5 * ((ours[:, None] - theirs[None]) / _LENGTH) ** 2)
    local = spread**2 * (near + _ALIGNMENT**2 * aligned)
    found: Array = _COMMON**2 + _FAMILY**2 * same_family + same_kind * (_KIND**2 + local)
    return found


def _inverted(networks: Array, sigma: Array) -> Array:
    """Return the inverse covariance of networks measured with errors, (n, n)."""
    return np.asarray(np.linalg.inv(networks + np.diag(sigma**2)), dtype=np.float64)


def _equal(left: Sequence[object], right: Sequence[object]) -> Array:
    number = {value: place for place, value in enumerate(dict.fromkeys([*left, *right]))}
    ours = np.asarray([number[value] for value in left], dtype=np.intp)
    theirs = np.asarray([number[value] for value in right], dtype=np.intp)
    found: Array = (ours[:, None] == theirs[None]).astype(np.float64)
    return found
