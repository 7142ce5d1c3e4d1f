"""Ways of running a supernet in which some of its layers behave differently for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from nasforge.layers.conv import ElasticBatchNorm
from nasforge.layers.drop_path import PathDropping
from nasforge.layers.linear import ElasticLinear


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """While open, batch normalisations do not update their running statistics."""
    norms = [m for m in module.modules() if isinstance(m, ElasticBatchNorm)]
    before = [norm.tracking for norm in norms]
    for norm in norms:
        norm.tracking = False
    try:
        yield
    finally:
        for norm, tracking in zip(norms, before, strict=True):
            norm.tracking = tracking


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """While open, a supernet drops neither features nor paths although it trains."""
    layers = [m for m in module.modules() if isinstance(m, ElasticLinear)]
    paths = [m for m in module.modules() if isinstance(m, PathDropping)]
    before = [layer.dropping for layer in layers]
    chances = [path.chance for path in paths]
    for layer in layers:
        layer.dropping = False
    for path in paths:
        path.chance = 0.0
    try:
        yield
    finally:
        for layer, dropping in zip(layers, before, strict=True):
            layer.dropping = dropping
        for path, chance in zip(paths, chances, strict=True):
            path.chance = chance
