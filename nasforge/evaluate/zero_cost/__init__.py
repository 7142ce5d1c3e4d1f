"""Zero-cost scores: what an untrained network says of itself in one or two passes of one batch.

A score is a function `(network, batch) -> float` of which more is better, installed under a name in the entry-point
group `nasforge.scores`. None leaves a trace in the network: weights, statistics, gradients, modes and hooks are after
it as they were.
"""

from nasforge.evaluate.zero_cost.batch import Batch, scoring_batch
from nasforge.evaluate.zero_cost.counts import macs, params
from nasforge.evaluate.zero_cost.grad_norm import grad_norm
from nasforge.evaluate.zero_cost.jacov import jacov
from nasforge.evaluate.zero_cost.naswot import naswot
from nasforge.evaluate.zero_cost.scorer import Scorer, ZeroCostEvaluator, make_scorer
from nasforge.evaluate.zero_cost.snip import snip
from nasforge.evaluate.zero_cost.synflow import synflow

__all__ = [
    "Batch",
    "Scorer",
    "ZeroCostEvaluator",
    "grad_norm",
    "jacov",
    "macs",
    "make_scorer",
    "naswot",
    "params",
    "scoring_batch",
    "snip",
    "synflow",
]
