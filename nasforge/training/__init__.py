"""Training of networks and supernets."""

from nasforge.training.config import TrainConfig
from nasforge.training.distillation import soft_cross_entropy
from nasforge.training.ema import EMATwin
from nasforge.training.loop import Training, TrainReport, evaluate, train
from nasforge.training.meter import Meter
from nasforge.training.optimiser import make_sgd

__all__ = [
    "EMATwin",
    "Meter",
    "TrainConfig",
    "TrainReport",
    "Training",
    "evaluate",
    "make_sgd",
    "soft_cross_entropy",
    "train",
]
