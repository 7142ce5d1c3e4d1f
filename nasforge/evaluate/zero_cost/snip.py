"""`snip`: how much the loss would notice if single weights were taken away (Lee et al. 2019)."""

from __future__ import annotations

from torch import nn

from nasforge.evaluate.zero_cost.batch import Batch
from nasforge.evaluate.zero_cost.probe import loss_gradients


def snip(network: nn.Module, batch: Batch) -> float:
    """Return the sum of |gradient of the loss x weight| over kernels and matrices.

    Lee, Ajanthan, Torr: SNIP, ICLR 2019, equation 5: the gradient by a mask c of ones is that by the weight times the
    weight. There it ranks the weights of one network and is divided by its sum; as a score of networks it is the sum
    (Abdelfattah et al. 2021, equations 1 and 2). Biases and normalisation's vectors do not count, as there.
    """
    return float(sum((weight * gradient).abs().double().sum() for weight, gradient in loss_gradients(network, batch)))
