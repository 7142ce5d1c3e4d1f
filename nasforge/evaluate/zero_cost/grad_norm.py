"""`grad_norm`: how long the gradients of the first step are (Abdelfattah et al. 2021)."""

from __future__ import annotations

from torch import nn

from nasforge.evaluate.zero_cost.batch import Batch
from nasforge.evaluate.zero_cost.probe import loss_gradients


def grad_norm(network: nn.Module, batch: Batch) -> float:
    """Return the sum over layers of the Euclidean norm of the loss's gradient by the layer's kernel or matrix.

    Abdelfattah, Mehrotra, Dudziak, Lane: Zero-Cost Proxies for Lightweight NAS, ICLR 2021, section 3.2: Euclidean
    norms of the gradients after one batch, summed. What is summed over is said by their program, and NASLib's after it:
    layers, without biases and normalisation's vectors.
    """
    return float(sum(gradient.double().norm() for _, gradient in loss_gradients(network, batch)))
