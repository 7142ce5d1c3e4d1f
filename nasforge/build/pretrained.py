"""Starting a node from a pretrained module: tensors are matched in order, by shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasforge.errors import ArchitectureError


@torch.no_grad()
def pretrained_state(node: str, source: Any, parts: Sequence[tuple[str, nn.Module]]) -> None:
    """Copy the parameters and buffers of `source` (a module or state dict) into the parts of a node, in order.

    Raises:
        ArchitectureError: another number of tensors, or other shapes.
    """
    state: Mapping[str, Tensor] = source.state_dict() if isinstance(source, nn.Module) else source
    given = [tensor for tensor in state.values() if tensor.dim() > 0]
    wanted = [
        tensor for _, module in parts for tensor in module.state_dict(keep_vars=True).values() if tensor.dim() > 0
    ]
    if [tuple(t.shape) for t in given] != [tuple(t.shape) for t in wanted]:
        raise ArchitectureError(
            f"node '{node}' was given pretrained tensors of shapes {[tuple(t.shape) for t in given]}; "
            f"expected {[tuple(t.shape) for t in wanted]}."
        )
    for target, tensor in zip(wanted, given, strict=True):
        target.data.copy_(tensor)
