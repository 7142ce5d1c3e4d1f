"""`naswot`: how differently the ReLUs of an untrained network code the images (Mellor et al. 2021)."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasforge.errors import EvaluationError
from nasforge.evaluate.zero_cost.batch import Batch
from nasforge.evaluate.zero_cost.probe import hooked, run, untrained_mode

RECTIFIERS: Final = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU)


def naswot(network: nn.Module, batch: Batch) -> float:
    """Return log |det K|, where K_ij is the number of rectifiers that are both on or both off for images i and j.

    Mellor, Turner, Storkey, Crowley: Neural Architecture Search without Training, ICML 2021, section 3: with N_A
    rectifiers and binary codes c, K_ij = N_A - d_Hamming(c_i, c_j). The code is the sign of what goes in; the authors'
    own program takes that of what comes out, which is the same, and their v1 (2020) is `jacov`. Of ReLU6 the bend at
    six does not count, as in NASLib. Minus infinity where two images have one code.

    Raises:
        EvaluationError: the network has no rectifier.
    """
    modules = [module for module in network.modules() if isinstance(module, RECTIFIERS)]
    if not modules:
        raise EvaluationError(
            "naswot counts the ReLUs that images switch on, and the network has none; take another, such as jacov."
        )
    kernel = np.zeros((len(batch.images), len(batch.images)))

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        np.add(kernel, agreements(inputs[0]), out=kernel)

    def register(module: nn.Module) -> Any:
        return module.register_forward_pre_hook(count)

    with hooked(modules, register), untrained_mode(network), torch.no_grad():
        run(network, batch.images)
    sign, logarithm = np.linalg.slogdet(kernel)
    return float(logarithm) if sign > 0 else -math.inf


def agreements(x: Tensor) -> npt.NDArray[np.float64]:
    """Return in how many places two rows of (N, ...) are both above zero or both not, as (N, N).

    With codes of plus and minus one, their products count agreements less disagreements.
    """
    codes = (x.reshape(len(x), -1) > 0).float() * 2 - 1
    return ((codes @ codes.T).double() + codes.shape[1]).numpy() / 2
