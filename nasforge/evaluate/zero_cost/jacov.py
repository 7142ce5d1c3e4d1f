"""`jacov`: how little the Jacobians of different images resemble each other (Mellor et al. 2020)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nasforge.evaluate.zero_cost.batch import Batch
from nasforge.evaluate.zero_cost.probe import run, summed, untrained_mode

K: Final = 1e-5


def jacov(network: nn.Module, batch: Batch) -> float:
    """Return minus the sum of log(v + k) + 1 / (v + k) over the eigenvalues v of the Jacobians' correlation; k = 1e-5.

    Mellor, Turner, Storkey, Crowley: Neural Architecture Search without Training, arXiv:2006.04647v1, section 3. A
    Jacobian is the gradient of the sum of an image's outputs by its pixels. Batch normalisation goes by the batch, so
    that gradients pass between images too, as in the implementations; they keep the one rounded eigenvalue that comes
    out below zero where numpy's general solver gives it, here the matrix is solved as the symmetric one it is. At most
    minus the number of images, where no two Jacobians correlate; NaN where one is constant.
    """
    images = batch.images.detach().clone().requires_grad_()
    with untrained_mode(network), torch.enable_grad():
        total = summed(run(network, images))
        if not total.requires_grad:
            return math.nan
        (jacobian,) = torch.autograd.grad(total, [images], allow_unused=True)
    return math.nan if jacobian is None else score(jacobian.reshape(len(images), -1).double().numpy())


def score(jacobians: npt.NDArray[np.float64]) -> float:
    """Return the score of Jacobians (N, pixels)."""
    centred = jacobians - jacobians.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        return math.nan
    rows = centred / lengths
    values = np.maximum(np.linalg.eigvalsh(rows @ rows.T), 0.0) + K
    return -float(np.sum(np.log(values) + 1.0 / values))
