"""Features of an operator's kernels, from which the latency of unmeasured shapes is estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from nasforge.space import Operator, Types

NAMES = ("layers", "dense_macs", "pointwise_macs", "depthwise_macs", "misaligned_macs", "bytes")


def kernel_features(op: Operator, inputs: Types) -> npt.NDArray[np.float64]:
    """Return counts and sizes by kind of kernel, shape (len(NAMES),); MACs in millions, bytes in megabytes."""
    row = dict.fromkeys(NAMES, 0.0)
    for leaf, types in op.primitives(inputs):
        macs = leaf.macs(types) / 1e6
        row["layers"] += 1.0
        row["bytes"] += 4e-6 * (leaf.shape(types).size + sum(kind.size for kind in types))
        if getattr(leaf, "depthwise", False):
            row["depthwise_macs"] += macs
        elif getattr(leaf, "kernel", 1) == 1:
            row["pointwise_macs"] += macs
        else:
            row["dense_macs"] += macs
        if types and types[0].channels % 16:
            row["misaligned_macs"] += macs
    return np.asarray([row[name] for name in NAMES])


def fit_kernels(rows: npt.NDArray[np.float64], measured_ms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Fit non-negative milliseconds per feature by least squares of the relative error.

    Args:
        rows: (n, features).
        measured_ms: (n,).
    """
    solution, _ = nnls(rows / measured_ms[:, None], np.ones(len(measured_ms)))
    result: npt.NDArray[np.float64] = solution
    return result


def estimate_ms(coefficients: Mapping[str, Sequence[float]], op: Operator, inputs: Types) -> float:
    """Estimate milliseconds by the coefficients of the operator's kind, or those of all kinds (`*`)."""
    fitted = coefficients.get(type(op).__name__, coefficients["*"])
    return max(float(kernel_features(op, inputs) @ np.asarray(fitted)), 1e-4)
