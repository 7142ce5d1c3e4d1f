"""`params` and `macs`: the size of the network, the score that every other has to beat."""

from __future__ import annotations

from torch import nn

from nasforge.build import Network
from nasforge.errors import EvaluationError
from nasforge.evaluate.zero_cost.batch import Batch


def params(network: nn.Module, batch: Batch) -> float:
    """Return the number of trainable parameters: `params` of the space's formula."""
    return float(sum(each.numel() for each in network.parameters() if each.requires_grad))


def macs(network: nn.Module, batch: Batch) -> float:
    """Return the multiply-accumulates for one image, by the operators' formulas: `macs` of the space.

    Raises:
        EvaluationError: the network was not built by nasforge, so its operators are not known.
    """
    if not isinstance(network, Network):
        raise EvaluationError(
            f"macs are counted by the operators of a nasforge Network, and a {type(network).__name__} was given; build "
            "it with nasforge.build.build_network."
        )
    return float(network.plan.lowered.total("macs"))
