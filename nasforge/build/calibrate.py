"""Re-estimating batch-normalisation statistics: what an extracted network needs before it is judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasforge.build.network import tell_network
from nasforge.errors import UsageError


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor] | Iterable[Mapping[str, Tensor]]) -> int:
    """Reset the running statistics of a plain network and average them over `batches` (cumulative mean).

    Only batch normalisations run in training mode; dropout does not.

    Returns:
        The number of batches used.

    Raises:
        UsageError: no batches; the statistics are reset then.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    mode = network.training
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    count = 0
    try:
        for batch in batches if norms else ():
            tell_network(network, batch, network(batch))
            count += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(mode)
    if norms and not count:
        raise UsageError("recalibration was given no batch; give at least one of the training split.")
    return count
