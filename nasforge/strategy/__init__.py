"""Strategies: the contract, the part added by shared weights, and mechanisms that several strategies use."""

from nasforge.strategy.base import Evaluation, Problem, Proposal, Score, ScoreFilter, Strategy
from nasforge.strategy.weight_sharing import Batch, Context, Phase, WeightSharing

__all__ = [
    "Batch",
    "Context",
    "Evaluation",
    "Phase",
    "Problem",
    "Proposal",
    "Score",
    "ScoreFilter",
    "Strategy",
    "WeightSharing",
]
