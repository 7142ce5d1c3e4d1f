"""The primitive layers of several variants of one node, matched by name, so that each is run once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from nasforge.errors import IncompatibleError
from nasforge.space.node import Body, Operator, Types
from nasforge.space.tensor import TensorType


@final
class Variant(NamedTuple):
    """What a node is under one combination of options, and its share in each image."""

    op: Operator
    types: Types
    share: Tensor


@final
class VariantPart(NamedTuple):
    """One primitive layer of a variant; inputs are names of parts, or -1, -2, ... for the node's."""

    name: str
    op: Operator
    inputs: tuple[str | int, ...]
    types: Types
    result: TensorType
    share: Tensor


@final
class Expanded:
    """A variant expanded to its parts."""

    def __init__(self, variant: Variant) -> None:
        body = Body(variant.types)
        result = body.add("", variant.op, *(-1 - place for place in range(len(variant.types))))
        names: list[str | int] = [part.name.lstrip(".") for part in body.parts]
        self.share = variant.share
        self.result = names[result] if result >= 0 else result
        self.parts: dict[str, VariantPart] = {}
        for place, part in enumerate(body.parts):
            inputs = tuple(names[i] if i >= 0 else i for i in part.inputs)
            types = tuple(body.type(i) for i in part.inputs)
            name = part.name.lstrip(".")
            self.parts[name] = VariantPart(name, part.op, inputs, types, body.type(place), variant.share)


def total_share(parts: Sequence[VariantPart]) -> Tensor:
    """Return the share of all parts together, (batch,)."""
    return torch.stack([part.share for part in parts]).sum(dim=0)


def common_order(node: str, variants: Sequence[Expanded]) -> list[str]:
    """Return the names of all parts of several variants, each behind what it reads in any of them."""
    needs: dict[str, set[str | int]] = {}
    for variant in variants:
        for part in variant.parts.values():
            needs.setdefault(part.name, set()).update(read for read in part.inputs if isinstance(read, str))
    order: list[str] = []
    while needs:
        ready = [name for name, found in needs.items() if found <= set(order)]
        if not ready:
            raise IncompatibleError(f"the variants of node '{node}' run their parts in different orders: not maskable.")
        order += ready
        for name in ready:
            del needs[name]
    return order
