"""Taking one architecture out of a supernet as a plain network."""

from __future__ import annotations

import torch

from nasforge.build.network import Network
from nasforge.build.supernet import Supernet
from nasforge.layers.base import Layer
from nasforge.space import Architecture


def extract(supernet: Supernet, architecture: Architecture) -> Network:
    """Return a plain network with copies of the weights that the architecture uses.

    It gives the supernet's outputs for that architecture, in evaluation and in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        network = Network(supernet.space.lower(architecture))
    parameter = next(supernet.parameters(), None)
    if parameter is not None:
        network.to(dtype=parameter.dtype, device=parameter.device)
    for place, step in enumerate(network.plan.steps):
        layer = supernet.layer_of(step)
        assert isinstance(layer, Layer)
        layer.export(step.op, step.input_types, network.module_of(place))
    return network.train(supernet.training)
