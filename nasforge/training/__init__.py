"""Training of networks and supernets."""

from nasforge.tasks.view import View
from nasforge.training.config import TrainConfig
from nasforge.training.distillation import Teachers, adaptive_alpha_divergence, soft_cross_entropy, soft_targets
from nasforge.training.ema import EMATwin
from nasforge.training.loop import Training, TrainReport, evaluate, train
from nasforge.training.meter import RATING, Counts, Meter, check_equal_cost, counted_as
from nasforge.training.optimiser import make_lars, make_sgd
from nasforge.training.recipe import RECIPES

__all__ = [
    "RATING",
    "RECIPES",
    "Counts",
    "EMATwin",
    "Meter",
    "Teachers",
    "TrainConfig",
    "TrainReport",
    "Training",
    "View",
    "adaptive_alpha_divergence",
    "check_equal_cost",
    "counted_as",
    "evaluate",
    "make_lars",
    "make_sgd",
    "soft_cross_entropy",
    "soft_targets",
    "train",
]
