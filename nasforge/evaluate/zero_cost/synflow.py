"""`synflow`: how much flows through the network if every weight is taken as positive (Tanaka et al. 2020)."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from nasforge.evaluate.zero_cost.batch import Batch
from nasforge.evaluate.zero_cost.probe import Tensors, evaluating, gradients, hooked, kernels, run, summed
from nasforge.layers.conv import ChannelNorm

PASSED: Final = (
    _NormBase, nn.LayerNorm, nn.GroupNorm, ChannelNorm,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardswish, nn.SiLU, nn.GELU,
)  # fmt: skip
"""What lets its input through unchanged."""


def synflow(network: nn.Module, batch: Batch) -> float:
    """Return the logarithm of the sum over weights of |w| dR/d|w|; R sums the outputs for one image of ones.

    Tanaka, Kunin, Yamins, Ganguli: Pruning neural networks without any data by iteratively conserving synaptic flow,
    NeurIPS 2020, algorithm 1: R = 1' |W_L| ... |W_1| 1. As a score of networks: Abdelfattah et al. 2021, equations 1
    and 2; they take batch normalisation out of the network, for it would divide the flow away. The sum is computed in
    double precision, as flows grow by an order of magnitude in a layer, and its logarithm is the score, as NAS-Bench-
    Suite-Zero publishes it; ranks are the same.

    Differences: implementations keep ReLU, which lets positive flows through anyway, and would keep ReLU6, which stops
    them at six; here every activation without a gate lets them through. They also let biases flow in; here biases are
    zero, as in the article. No data are used: of the batch only the images' shape.
    """
    weights = positive(network)
    modules = [module for module in network.modules() if isinstance(module, PASSED)]
    ones = torch.ones(1, *batch.images.shape[1:], dtype=torch.float64)

    def register(module: nn.Module) -> Any:
        return module.register_forward_hook(lambda module, inputs, output: inputs[0])

    with hooked(modules, register), evaluating(network), torch.enable_grad():
        flow = summed(run(network, ones, weights))
        pairs = gradients(flow, kernels(weights))
    total = float(sum((weight * gradient).abs().sum() for weight, gradient in pairs))
    return math.log(total) if total > 0 else -math.inf


def positive(network: nn.Module) -> Tensors:
    """Return absolute parameters in double precision; biases are zero."""
    return {
        name: (torch.zeros_like(each) if name.endswith("bias") else each).detach().double().abs().requires_grad_()
        for name, each in network.named_parameters()
    }
