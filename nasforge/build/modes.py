"""Ways of running a supernet in which some of its layers behave differently for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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
def taking_statistics(*modules: nn.Module) -> Iterator[None]:
    """While open, a batch in training mode sets the running statistics of normalisations to its own."""
    parts = [part for module in modules for part in module.modules()]
    norms = [part for part in parts if isinstance(part, ElasticBatchNorm | _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


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


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """While open, a supernet evaluates, and its batch normalisations go by the batch at hand.

    The running statistics of shared channels mix all paths and fit none; they are neither used nor moved. What is
    judged so should come in batches as large as those of the training.
    """
    changed = [part for part in module.modules() if part.training is not isinstance(part, ElasticBatchNorm)]
    for part in changed:
        part.training = not part.training
    try:
        with frozen_statistics(module):
            yield
    finally:
        for part in changed:
            part.training = not part.training
