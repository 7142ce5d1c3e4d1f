"""Fitting a kernel model to latencies of whole networks, at several batch sizes and from several sources.

Whole networks tell little of some coefficients (a kernel always hidden behind its dispatch, say), so each is drawn,
weakly and in its logarithm, to the assumption it starts from: what the measurements do not speak of stays there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from scipy.optimize import least_squares

from nasforge.errors import ProfileError
from nasforge.hardware.kernel_model import KINDS, Floats, KernelModel, Work, make_model, work_of
from nasforge.hardware.predictor import agreement
from nasforge.hardware.roofline import Card
from nasforge.space import Lowered, Operator, Types

NOISE: Final = 0.02
"""Assumed relative error of a measured network; it sets how strongly the starting assumptions hold."""
HOST: Final = 0.25
"""Assumed spread of the logarithm of how fast hosts dispatch."""
_START: Final = {
    "launch_ms": 0.05,
    "arithmetic": 0.4,
    "memory": 0.6,
    "call_ms": 0.5,
    "half_outputs": 1e4,
    "sharpness": 4.0,
}
_SPREAD: Final = {
    "launch_ms": 0.7,
    "arithmetic": 0.7,
    "memory": 0.5,
    "call_ms": 1.0,
    "half_outputs": 1.0,
    "sharpness": 0.5,
}
_LEAST: Final = {
    "launch_ms": 1e-3,
    "arithmetic": 0.005,
    "memory": 0.02,
    "call_ms": 0.01,
    "half_outputs": 1.0,
    "sharpness": 1.0,
}
_MOST: Final = {
    "launch_ms": 1.0,
    "arithmetic": 1.0,
    "memory": 1.0,
    "call_ms": 10.0,
    "half_outputs": 6e4,
    "sharpness": 32.0,
}
_TABLES: Final = ("launch_ms", "arithmetic", "memory")
_SCALARS: Final = ("call_ms", "half_outputs", "sharpness")
_CALL: Final = len(_TABLES) * len(KINDS) + _SCALARS.index("call_ms")
"""Place of `call_ms` among the logarithms that are fitted; the launches come first."""


@final
@dataclass(frozen=True, slots=True)
class Networks:
    """Networks as counts of different nodes: `counts` (networks, nodes) and the nodes' kernels."""

    counts: Floats
    work: Work

    def latency_ms(self, model: KernelModel, batch: int, launch_factor: float = 1.0) -> Floats:
        """Return the modelled milliseconds of each network, shape (networks,)."""
        once = launch_factor * model.call_ms
        result: Floats = once + self.counts @ model.milliseconds(self.work, batch, launch_factor)
        return result


@final
@dataclass(frozen=True, slots=True)
class Readings:
    """What was measured in one sitting: networks on one host at one batch size.

    Attributes:
        name: of the sitting.
        networks: what was measured.
        batch: images at once.
        latency_ms: (networks,) of the whole batch.
    """

    name: str
    networks: Networks
    batch: int
    latency_ms: Floats


@final
@dataclass(frozen=True, slots=True)
class KernelFit:
    """A fitted model, and the factor by which each sitting's host dispatched slower than the model's.

    The mean of their logarithms, weighted by how much latencies follow the host, is 0.
    """

    model: KernelModel
    launch_factors: Mapping[str, float]


def networks_of(lowered: Iterable[Lowered]) -> Networks:
    """Count the different nodes of lowered networks."""
    places: dict[str, int] = {}
    nodes: list[tuple[Operator, Types]] = []
    found: list[dict[int, int]] = []
    for network in lowered:
        row: dict[int, int] = {}
        for node in network.nodes:
            if not node.input_types:
                continue
            place = places.setdefault(node.key, len(nodes))
            if place == len(nodes):
                nodes.append((node.op, node.input_types))
            row[place] = row.get(place, 0) + 1
        found.append(row)
    counts = np.zeros((len(found), len(nodes)))
    for number, row in enumerate(found):
        counts[number, list(row)] = list(row.values())
    return Networks(counts, work_of(nodes))


def fit_kernel_model(card: Card, readings: Sequence[Readings]) -> KernelFit:
    """Fit the coefficients of one card by least squares of the relative error, all sittings together.

    Each sitting has a factor of its own on dispatch, as hosts and framework versions differ; the card's is one.

    Args:
        card: published figures, on which efficiencies are shares.
        readings: the sittings.

    Raises:
        ProfileError: no sitting, two of one name, or latencies that are not positive or not one for each network.
    """
    _check(readings)
    start, spread, least, most = (_laid_out(values) for values in (_START, _SPREAD, _LEAST, _MOST))
    start, least, most = np.log(start), np.log(least), np.log(most)
    hosts = len(readings)

    def residuals(theta: Floats) -> Floats:
        model, factors = _unpacked(card, theta, hosts)
        parts = [
            (each.networks.latency_ms(model, each.batch, factor) / each.latency_ms - 1.0) / NOISE
            for each, factor in zip(readings, factors, strict=True)
        ]
        return np.concatenate([*parts, (theta[: len(start)] - start) / spread, theta[len(start) :] / HOST])

    bounds = (np.append(least, np.full(hosts, -2.0)), np.append(most, np.full(hosts, 2.0)))
    found = least_squares(residuals, np.append(start, np.zeros(hosts)), bounds=bounds, x_scale="jac", max_nfev=80)
    theta = np.asarray(found.x, dtype=float)
    model, factors = _unpacked(card, theta, hosts)
    weights = [_dispatch_share(model, each, factor) for each, factor in zip(readings, factors, strict=True)]
    mean = float(np.average(theta[len(start) :], weights=weights))
    theta[[*range(len(KINDS)), _CALL]] += mean
    theta[len(start) :] -= mean
    model, factors = _unpacked(card, theta, hosts)
    return KernelFit(model, {each.name: factor for each, factor in zip(readings, factors, strict=True)})


def _check(readings: Sequence[Readings]) -> None:
    names = [each.name for each in readings]
    if not readings or len(set(names)) < len(names):
        raise ProfileError(f"a card was to be fitted to the sittings {names}; expected at least one, each named once.")
    for each in readings:
        if each.latency_ms.shape != (len(each.networks.counts),):
            raise ProfileError(
                f"sitting '{each.name}' has latencies of shape {each.latency_ms.shape} for "
                f"{len(each.networks.counts)} networks; expected one for each."
            )
        if not (np.isfinite(each.latency_ms).all() and (each.latency_ms > 0.0).all()):
            raise ProfileError(
                f"sitting '{each.name}' has latencies that are no number above 0; leave these networks out."
            )


def _dispatch_share(model: KernelModel, each: Readings, factor: float) -> float:
    """Return by how much a sitting's latencies follow its host: the elasticity to dispatch, from 0 to 1."""
    slower, now = (each.networks.latency_ms(model, each.batch, factor * change).mean() for change in (1.01, 1.0))
    return float(max(slower / now - 1.0, 1e-6) / 0.01)


def _laid_out(values: Mapping[str, float]) -> Floats:
    return np.asarray([*(values[name] for name in _TABLES for _ in KINDS), *(values[name] for name in _SCALARS)])


def _unpacked(card: Card, theta: Floats, hosts: int) -> tuple[KernelModel, list[float]]:
    values = np.exp(theta).tolist()
    size = len(KINDS)
    coefficients: dict[str, Any] = {
        name: dict(zip(KINDS, values[place * size : (place + 1) * size], strict=True))
        for place, name in enumerate(_TABLES)
    }
    coefficients |= dict(zip(_SCALARS, values[len(_TABLES) * size :], strict=False))
    return make_model(card, coefficients), values[len(values) - hosts :]


def accuracy(predicted: Floats, measured: Floats) -> dict[str, float]:
    """Compare predictions with measurements where the spread may be narrow.

    Returns:
        What `agreement` does, with `explained` (the share of the measured variance: 1 - squared error / variance),
        `bias` (mean relative error) and `spread` (standard deviation over mean of what was measured).
    """
    found = agreement(predicted.tolist(), measured.tolist())
    return {
        **found,
        "explained": float(1.0 - ((predicted - measured) ** 2).mean() / measured.var()),
        "bias": float((predicted / measured - 1.0).mean()),
        "spread": float(measured.std() / measured.mean()),
    }
