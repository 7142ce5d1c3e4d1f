"""Predicting latency from a profile: a sum over blocks, corrected on whole networks.

A block timed alone carries the ends that a network shares, and some kernels run differently among others, so
each kind of block gets a factor of its own, fitted on whole networks and drawn towards a factor common to all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from nasforge.hardware.block_model import BlockModel, Blocks, Estimate
from nasforge.hardware.cost import Cost, cost_as_run
from nasforge.hardware.features import estimate_ms, fit_kernels, kernel_features
from nasforge.hardware.predictor import LatencyPredictor, agreement
from nasforge.hardware.profile import Profile
from nasforge.space import Architecture, Lowered, Operator, SearchSpace, Types
from nasforge.space.repeats import spared

METRIC: Final = "latency_ms_predicted"
LEAST_OF_KIND: Final = 8
"""A kind of operator has kernel coefficients of its own from this many entries on."""
SOUND_WITHIN, SOUND_SPEARMAN = 0.95, 0.98
_NOISE: Final = 0.03
"""Assumed relative error of a measured network; it sets how strongly the priors below hold."""
_COMMON, _OWN, _PER_BLOCK, _OFFSET = 1.0, 0.5, 0.3, 0.2
"""Prior standard deviations: common factor, own factor over it, ms per block over the mean block (a block alone pays
for a call of its own, so it is mostly negative), offset over the median."""


def group_of(op: Operator) -> str:
    """Return the kind of block that shares a factor: the operator and its kernel size, where it has one."""
    kernel = getattr(op, "kernel", None)
    return type(op).__name__ + (str(kernel) if isinstance(kernel, int) else "")


def fit_by_kind(blocks: Mapping[str, Lowered], entries: Mapping[str, float]) -> dict[str, list[float]]:
    """Fit kernel coefficients for each kind of operator with enough entries, and for all (`*`)."""
    rows: dict[str, list[tuple[npt.NDArray[np.float64], float]]] = {"*": []}
    for key, latency_ms in entries.items():
        node = blocks[key].nodes[-1]
        pair = (kernel_features(node.op, node.input_types), latency_ms)
        rows["*"].append(pair)
        rows.setdefault(type(node.op).__name__, []).append(pair)
    fitted = {}
    for kind, pairs in rows.items():
        if pairs and (kind == "*" or len(pairs) >= LEAST_OF_KIND):
            values = fit_kernels(np.stack([p[0] for p in pairs]), np.asarray([p[1] for p in pairs]))
            fitted[kind] = [float(value) for value in values]
    return fitted


@final
class BlockTable:
    """Milliseconds of every block of a space: measured, or estimated from those that were.

    Args:
        profile: the measurements.
        space: whose blocks are asked for.
    """

    def __init__(self, profile: Profile, space: SearchSpace) -> None:
        """Estimate what was not measured."""
        blocks = single_blocks(space.node_variants())
        self.missing = sorted(blocks.keys() - profile.entries.keys())
        self.estimates: dict[str, Estimate] = {}
        if self.missing:
            model = BlockModel(blocks, profile.entries, profile.kernels, profile.scales)
            self.estimates = model.estimates(self.missing)
        self._ms = {**profile.entries, **{key: each.latency_ms for key, each in self.estimates.items()}}
        self._profile = profile
        self.spares = space.repeats is not None

    def ms(self, op: Operator, types: Types) -> float:
        """Return the milliseconds of a block; blocks of another space have the trend of their kind."""
        if not types:
            return 0.0
        found = self._ms.get(op.key(types))
        return found if found is not None else estimate_ms(self._profile.kernels, op, types)

    def features(self, lowered: Lowered) -> tuple[int, dict[str, float]]:
        """Return the number of blocks that a network runs, and the sum of their milliseconds by group."""
        count, sums = 0, dict[str, float]()
        left = spared(lowered)
        for index, node in enumerate(lowered.nodes):
            if node.input_types and index not in left:
                group = group_of(node.op)
                count += 1
                sums[group] = sums.get(group, 0.0) + self.ms(node.op, node.input_types)
        return count, sums


def single_blocks(variants: Mapping[str, Lowered]) -> Blocks:
    """Return operator and input types of each block."""
    return {key: (lowered.nodes[-1].op, lowered.nodes[-1].input_types) for key, lowered in variants.items()}


def fit_correction(table: BlockTable, networks: Sequence[Lowered], measured_ms: Sequence[float]) -> dict[str, Any]:
    """Fit measured ~ offset + per_block * blocks + sum over groups of factor * sum of the group.

    Non-negative ridge regression of the relative error with the table itself as prior: few networks move what they
    speak of, and leave the rest at the common factor. Where a network may be spared altogether, the offset is not
    negative, for it is all that such a network costs.

    Returns:
        `offset`, `per_block`, `factor` (of groups not seen) and `factors` by group.
    """
    found = [table.features(network) for network in networks]
    groups = sorted({group for _, sums in found for group in sums})
    if not found:
        return {"offset": 0.0, "per_block": 0.0, "factor": 1.0, "factors": {}}
    truth = np.asarray(measured_ms, dtype=float)
    counts = np.asarray([count for count, _ in found], dtype=float)
    sums = np.asarray([[by.get(group, 0.0) for group in groups] for _, by in found])
    ones = np.ones((len(truth), 1))
    number = counts[:, None]  # columns: offset up and down, per block up and down, common factor, factors
    below = np.zeros_like(ones) if table.spares else -ones
    rows = np.concatenate([ones, below, number, -number, 0.0 * ones, sums], axis=1) / truth[:, None] / _NOISE
    priors, aims = _priors(float(np.median(truth)), float(sums.sum() / counts.sum()), len(groups))
    solution, _ = nnls(np.concatenate([rows, priors]), np.concatenate([np.full(len(truth), 1.0 / _NOISE), aims]))
    up, down, block_up, block_down, common, *own = solution.tolist()
    factors = dict(zip(groups, own, strict=True))
    return {"offset": up - down, "per_block": block_up - block_down, "factor": common, "factors": factors}


def _priors(median_ms: float, block_ms: float, groups: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return rows and right-hand sides that draw offsets to 0, the common factor to 1 and factors to the common one."""
    deviations = (_OFFSET * median_ms, _OFFSET * median_ms, _PER_BLOCK * block_ms, _PER_BLOCK * block_ms, _COMMON)
    free = len(deviations)
    rows = np.diag([1.0 / deviation for deviation in (*deviations, *[_OWN] * groups)])
    rows[free:, free - 1] = -1.0 / _OWN
    aims = np.zeros(free + groups)
    aims[free - 1] = 1.0 / _COMMON
    return rows, aims


def corrected_cost(profile: Profile, space: SearchSpace, table: BlockTable | None = None) -> Cost:
    """Return the corrected sum over blocks as a cost of the space's architectures."""
    blocks = table or BlockTable(profile, space)
    correction = profile.correction
    factors, other, per_block = correction["factors"], correction["factor"], correction["per_block"]

    def node_ms(op: Operator, types: Types) -> float:
        if not types:
            return 0.0
        return max(float(factors.get(group_of(op), other) * blocks.ms(op, types) + per_block), 0.0)

    offset = float(correction["offset"])
    if offset < 0.0:
        offset = max(offset, -0.5 * _least(cost_as_run(METRIC, space, node_ms), space))
    return cost_as_run(METRIC, space, node_ms, offset)


def _least(cost: Cost, space: SearchSpace) -> float:
    """Return a small cost of the space: a negative offset must not make latencies negative."""
    rows = space.sample_batch(256, np.random.default_rng(0))
    return min(float(cost.batch(rows).min()), float(cost(space.smallest())))


def predictor_from(profile: Profile, space: SearchSpace, name: str, warning: str = "") -> LatencyPredictor:
    """Return the corrected predictor of a profile, with its held-out error in its source.

    Args:
        profile: of this space.
        space: the space.
        name: where the profile comes from.
        warning: what to say before all else.
    """
    keys, table = space.node_variants(), BlockTable(profile, space)
    estimated = len(table.missing)
    runtime = profile.runtime
    measured = f"blocks measured on {profile.device['model']}, ONNX Runtime {runtime['onnxruntime']}"
    said = (
        warning,
        f"predicted from {measured}, {profile.precision}, {_threads(runtime)}, {profile.created[:10]}: "
        f"{error_sentence(profile.validation)}",
        f"{estimated} of {len(keys)} blocks estimated from the others, +- {_typical(table):.0%}" if estimated else "",
        str(profile.noise.get("sentence", "")),
    )
    source = "; ".join(each for each in said if each)
    details = {
        "estimated_keys": estimated,
        "estimated_error": _typical(table),
        "unstable_keys": sum(each.get("flag") == "unstable" for each in profile.readings.values()),
        "measured_keys": len(profile.entries),
        "noise": {key: value for key, value in profile.noise.items() if key != "marks"},
        "warning": warning,
        "checksum": profile.to_json()["sha256"],
        "held_out": [{key: each[key] for key in ("measured_ms", "predicted_ms")} for each in profile.held_out],
    }
    return LatencyPredictor(corrected_cost(profile, space, table), source, name, profile.validation, details)


def _typical(table: BlockTable) -> float:
    """Return the mean relative standard deviation of the estimates."""
    return float(np.mean([each.error for each in table.estimates.values()])) if table.estimates else 0.0


def _threads(runtime: Mapping[str, Any]) -> str:
    threads, batch = runtime.get("threads", 1), runtime.get("batch", 1)
    return f"{threads} thread{'s' * (threads > 1)}" + (f", batch {batch}" if batch > 1 else "")


def spread_networks(space: SearchSpace, count: int, seed: int = 20) -> list[Architecture]:
    """Draw different networks spread over the space's costs: every n-th by MACs of many samples, shuffled.

    Networks whose output depends on no input are passed over: a runtime folds them to a constant.
    """
    rng = np.random.default_rng(seed)
    unique = np.unique(space.sample_batch(40 * count, rng), axis=0)
    unique = unique[_counts(space, unique) > 0]
    ordered = unique[np.argsort(space.cost("macs").batch(unique), kind="stable")]
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [space.from_decisions(row) for row in rng.permutation(ordered[places])]


def _counts(space: SearchSpace, rows: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Return how many blocks are run, of rows of decisions."""
    return cost_as_run("blocks", space, lambda op, types: float(bool(types))).batch(rows).round()


def validated(
    profile: Profile,
    space: SearchSpace,
    held_out: Sequence[Architecture],
    read_ms: Sequence[float],
    speed: float = 1.0,
) -> Profile:
    """Return the profile with its error on networks that took no part in fitting; without one below three.

    The error is at equal speed of the processor: what another process read is divided by `speed`, its reference's time
    over that of the profile. The error of the times as they were read stands beside it under `..._as_read`, and so
    do MACs and params, each with the factor and the offset that fit the same networks best.
    """
    if len(held_out) < 3:
        return profile
    cost = corrected_cost(profile, space)
    predicted = [cost(each) for each in held_out]
    measured_ms = [value / speed for value in read_ms]
    rows = [
        {"decisions": list(each.decisions), "measured_ms": truth, "predicted_ms": guess}
        for each, truth, guess in zip(held_out, measured_ms, predicted, strict=True)
    ]
    as_read = agreement(predicted, read_ms)
    return dataclasses.replace(
        profile,
        validation={
            **agreement(predicted, measured_ms),
            "speed": speed,
            **{f"{key}_as_read": as_read[key] for key in ("within_5_percent", "within_10_percent", "rmspe")},
        },
        held_out=rows,
        baselines={
            metric: agreement(_best_line([space.cost(metric)(each) for each in held_out], measured_ms), measured_ms)
            for metric in ("macs", "params")
        },
    )


def _best_line(values: Sequence[float], measured_ms: Sequence[float]) -> Sequence[float]:
    """Return offset + factor x value, fitted to the relative error of these very networks: as good as it can get."""
    truth = np.asarray(measured_ms, dtype=float)
    rows = np.stack([np.ones(len(truth)), np.asarray(values, dtype=float)], axis=1) / truth[:, None]
    solution, *_ = np.linalg.lstsq(rows, np.ones(len(truth)), rcond=None)
    return [float(value) for value in (rows @ solution) * truth]


def error_sentence(validation: Mapping[str, float]) -> str:
    """Say the held-out error in words."""
    if not validation:
        return "no held-out error"
    return (
        f"{validation['within_10_percent']:.0%} of {validation['n']:.0f} held-out networks within 10 %, "
        f"Spearman {validation['spearman']:.3f}" + ("" if is_sound(validation) else "; weak, trust measured finalists")
    )


def is_sound(validation: Mapping[str, float]) -> bool:
    """Say whether a held-out error is good enough to choose by: 95 % within 10 %, Spearman 0.98."""
    return validation["within_10_percent"] >= SOUND_WITHIN and validation["spearman"] >= SOUND_SPEARMAN


def fitted_of(networks: int, fitted: int, held_out: int) -> int:
    """Return how many of the measured networks are fitted: `fitted`, or half where the space has too few."""
    return fitted if networks >= fitted + held_out else networks - networks // 2


def usage(space: SearchSpace, blocks: Mapping[str, Lowered]) -> dict[str, float]:
    """Return by key how much random networks compute in a block: MACs over 300 of them, with a little for its call."""
    rng = np.random.default_rng(21)
    weight: dict[str, float] = {}
    for _ in range(300):
        for node in space.lower(space.sample(rng)).nodes:
            if node.key in blocks:
                weight[node.key] = weight.get(node.key, 0.0) + node.op.macs(node.input_types) + 1e5
    return weight


def blocks_to_add(table: BlockTable, space: SearchSpace, most: int) -> list[str]:
    """Choose the blocks to measure next: where the estimate's error, in milliseconds of random networks, is largest."""
    variants = space.node_variants()
    weight = usage(space, variants)

    def worth(key: str) -> float:
        macs = variants[key].total("macs") + 1e5
        found = table.estimates[key]
        return found.error * found.latency_ms * (weight.get(key, 0.0) + macs) / macs

    return sorted(sorted(table.missing, key=lambda key: (-worth(key), key))[:most])


def blocks_to_measure(space: SearchSpace, blocks: Mapping[str, Lowered], most: int) -> list[str]:
    """Choose the keys to measure: all, or those that random networks run most of the time.

    A share of a quarter is spread over kinds of operator and their sizes instead, so that what is left can be
    estimated from neighbours on both sides.
    """
    if len(blocks) <= most:
        return sorted(blocks)
    weight = usage(space, blocks)
    frequent = sorted(weight, key=lambda key: (-weight[key], key))[: most - most // 4]
    kinds: dict[str, list[str]] = {}
    for key in blocks.keys() - set(frequent):
        kinds.setdefault(type(blocks[key].nodes[-1].op).__name__, []).append(key)
    chosen = set(frequent)
    for keys in kinds.values():
        share = max(4, round((most - len(frequent)) * len(keys) / len(blocks)))
        ordered = sorted(keys, key=lambda key: (blocks[key].total("macs"), blocks[key].total("activation_bytes"), key))
        places = np.unique(np.linspace(0, len(ordered) - 1, min(share, len(ordered))).round().astype(int))
        chosen.update(ordered[place] for place in places)
    return sorted(chosen)
