"""Agreement of predictions with measurements, and features of kernels."""

from __future__ import annotations

import numpy as np
import pytest

from nasforge.hardware.features import NAMES, estimate_ms, fit_kernels, kernel_features
from nasforge.hardware.predictor import agreement
from nasforge.ops import Conv, MBConv
from nasforge.space import TensorType


def test_agreement_by_hand():
    found = agreement([1.0, 2.08, 3.24, 5.0], [1.0, 2.0, 3.0, 4.0])
    assert found["n"] == 4
    assert found["within_5_percent"] == pytest.approx(0.5)
    assert found["within_10_percent"] == pytest.approx(0.75)
    assert found["rmspe"] == pytest.approx(np.sqrt((0.04**2 + 0.08**2 + 0.25**2) / 4))
    assert found["spearman"] == pytest.approx(1.0)
    assert agreement([3.0, 2.0, 1.0], [1.0, 2.0, 3.0])["spearman"] == pytest.approx(-1.0)


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")
def test_a_constant_prediction_has_no_rank_correlation_and_no_nan():
    assert agreement([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])["spearman"] == 0.0
    assert agreement([1.0], [1.0])["spearman"] == 0.0


def test_features_count_layers_and_sort_macs_by_kind():
    types = (TensorType((16, 8, 8)),)
    row = dict(zip(NAMES, kernel_features(MBConv(24, 5, 6), types), strict=True))
    hidden = 96
    assert row["depthwise_macs"] == pytest.approx(hidden * 25 * 64 / 1e6)
    assert row["pointwise_macs"] == pytest.approx((16 * hidden + hidden * 24) * 64 / 1e6)
    assert row["dense_macs"] == 0.0
    assert row["misaligned_macs"] == 0.0
    odd = dict(zip(NAMES, kernel_features(Conv(8, 3), (TensorType((12, 4, 4)),)), strict=True))
    assert odd["dense_macs"] == odd["misaligned_macs"] == pytest.approx(12 * 8 * 9 * 16 / 1e6)


def test_fitted_coefficients_are_not_negative_and_recover_a_linear_truth():
    types = [(TensorType((channels, 8, 8)),) for channels in (8, 16, 24, 32, 48)]
    ops = [MBConv(24, kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6)]
    pairs = [(op, kinds) for op in ops for kinds in types]
    truth = np.asarray([0.001, 0.2, 0.01, 0.05, 0.003, 0.1])
    rows = np.stack([kernel_features(op, kinds) for op, kinds in pairs])
    fitted = fit_kernels(rows, rows @ truth)
    assert (fitted >= 0.0).all()
    for op, kinds in pairs:
        expected = float(kernel_features(op, kinds) @ truth)
        assert estimate_ms({"*": fitted.tolist()}, op, kinds) == pytest.approx(expected, rel=0.01)
        assert estimate_ms({"*": [9.0] * len(NAMES), "MBConv": fitted.tolist()}, op, kinds) == pytest.approx(
            expected, rel=0.01
        )
