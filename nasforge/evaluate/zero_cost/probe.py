"""Passes through a network that leave nothing behind.

Parameters and buffers are substituted for the pass (`torch.func.functional_call`), so the network's own are never
written: there is nothing to restore when a pass fails half-way. Only modes and hooks are the network's, and both are
taken back on the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasforge.evaluate.zero_cost.batch import Batch

Tensors = dict[str, Tensor]


@contextmanager
def evaluating(network: nn.Module, *trained: type[nn.Module]) -> Iterator[None]:
    """While open, the network is in evaluation mode, but for modules of the types `trained`."""
    modes = [(module, module.training) for module in network.modules()]
    for module, _ in modes:
        module.training = isinstance(module, trained)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def untrained_mode(network: nn.Module) -> AbstractContextManager[None]:
    """While open, batch normalisation goes by the batch and all else is as in evaluation.

    An untrained network has no statistics to go by; dropout and dropped paths would make a score a matter of luck.
    """
    return evaluating(network, _BatchNorm)


@contextmanager
def hooked(modules: Iterable[nn.Module], register: Callable[[nn.Module], Any]) -> Iterator[None]:
    """While open, each module has the hook that `register` gives it."""
    handles = [register(module) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def copied_weights(network: nn.Module) -> Tensors:
    """Return copies of the parameters by name, which take gradients of their own."""
    return {name: each.detach().clone().requires_grad_() for name, each in network.named_parameters()}


def run(network: nn.Module, images: Tensor, weights: Mapping[str, Tensor] | None = None) -> Any:
    """Return the outputs with `weights` in the place of the parameters, and copies in that of the buffers.

    Buffers take the images' precision.
    """
    given = copied_weights(network) if weights is None else weights
    buffers = {
        name: each.detach().clone().to(images.dtype if each.is_floating_point() else each.dtype)
        for name, each in network.named_buffers()
    }
    return torch.func.functional_call(network, {**given, **buffers}, (images,))


def summed(outputs: Any) -> Tensor:
    """Return the sum of all numbers that a network gives, however it gives them."""
    if isinstance(outputs, Tensor):
        return outputs.sum()
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return torch.stack([summed(part) for part in parts]).sum()


def kernels(weights: Mapping[str, Tensor]) -> Tensors:
    """Return what implementations sum over: kernels and matrices, without biases and normalisation's vectors."""
    return {name: each for name, each in weights.items() if each.dim() > 1}


def gradients(total: Tensor, weights: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, gradient of `total`) of each weight that it depends on."""
    if not weights or not total.requires_grad:
        return []
    found = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    pairs = zip(weights.values(), found, strict=True)
    return [(weight.detach(), gradient) for weight, gradient in pairs if gradient is not None]


def loss_gradients(network: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, gradient of the loss on the batch) of every kernel and matrix."""
    weights = copied_weights(network)
    with untrained_mode(network), torch.enable_grad():
        loss = batch.loss(run(network, batch.images, weights), batch.labels)
        return gradients(loss, kernels(weights))
