"""One reward from a quality and costs, as in MnasNet (Tan et al. 2019, equation 2)."""

from __future__ import annotations

import math
from collections.abc import Iterable


def cost_aware_reward(quality: float, ratios: Iterable[float], w: float) -> float:
    """Return quality x the product of (cost / reference)^w, or the quotient where quality is below zero.

    Args:
        quality: such as an accuracy; a score without training may be below zero.
        ratios: cost / reference of each cost.
        w: below zero where cheaper is better; 0 rewards quality alone.

    >>> cost_aware_reward(0.8, [2.0], -1.0)
    0.4
    >>> cost_aware_reward(-2.0, [2.0], -1.0)
    -4.0
    """
    factor = math.prod(math.pow(max(ratio, 1e-12), w) for ratio in ratios)
    return quality * factor if quality >= 0 else quality / factor
