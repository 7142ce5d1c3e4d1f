"""Batch normalisation of which every width has gamma, beta and running statistics of its own.

Widths of a sliced convolution differ in the mean and variance of the channels that they share, since they sum over
other numbers of inputs; one set of statistics fits none of them (slimmable networks, Yu et al. 2019, section 3.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.layers.base import Layer, Layout, Variant
from nasforge.layers.blend import Blend, along, widened
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.space.node import Types


@final
class NormPerWidth(Layer):
    """One normalisation for each layout of the channels that occurs."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        super().__init__(variants)
        by_layout: dict[str, list[Variant]] = {}
        for op, types in variants:
            by_layout.setdefault(_key(types[0].layout), []).append((op, types))
        self.widths = nn.ModuleDict({key: ElasticBatchNorm(own) for key, own in by_layout.items()})

    def _norm(self, types: Types) -> ElasticBatchNorm:
        norm = self.widths[_key(types[0].layout)]
        assert isinstance(norm, ElasticBatchNorm)
        if norm.views is not self.views:
            norm.views = self.views
        return norm

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Normalise by the width's own."""
        return self._norm(types)(op, types, *inputs)  # type: ignore[no-any-return]  # modules give anything

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Normalise the images of each width by its own."""
        x = inputs[0]
        places: dict[Layout, list[int]] = {}
        for place, types in enumerate(blend.types):
            places.setdefault(types[0].layout, []).append(place)
        result = torch.zeros_like(x)
        for own in places.values():
            shares = blend.shares[:, own]
            present = shares.detach().ne(0).any(dim=1)
            kinds = tuple(blend.types[place] for place in own)
            width = kinds[0][0].capacity
            part = dataclasses.replace(
                blend,
                ops=tuple(blend.ops[place] for place in own),
                types=kinds,
                shares=shares,
                output=blend.output[:, :width],
                groups=tuple(images[present[images]] for images in blend.groups if bool(present[images].any())),
            )
            if part.groups:
                y = widened(self._norm(kinds[0]).masked(part, x[:, :width]), x.shape[1])
                result = result + along(shares.sum(dim=1), y) * y
        return result

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return an nn.BatchNorm."""
        return ElasticBatchNorm.plain(op, types)

    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the width's own."""
        self._norm(types).export(op, types, module)


def _key(layout: Layout) -> str:
    """Return e.g. `16`, or `8+8_24+8` for runs of channels after a concatenation."""
    return str(layout[0][1]) if len(layout) == 1 and not layout[0][0] else "_".join(f"{o}+{n}" for o, n in layout)
