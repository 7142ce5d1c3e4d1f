"""What is put around a network while it learns, and is no part of it afterwards: dropout and an auxiliary head."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from nasforge.build import AuxiliaryNetwork
from nasforge.build.network import Network
from nasforge.errors import IncompatibleError
from nasforge.rng import integer_seed
from nasforge.training.config import TrainConfig


def learner_of(module: nn.Module, classes: int, config: TrainConfig, seed: int) -> nn.Module:
    """Return what learns: the module, or the module with an auxiliary head of weights drawn from the seed.

    Raises:
        IncompatibleError: the module has no place for the head.
    """
    if not config.auxiliary_weight:
        return module
    if not isinstance(module, Network):
        raise IncompatibleError(
            f"training.auxiliary_weight={config.auxiliary_weight} was given for a {type(module).__name__}; expected "
            "the network of a space, which says where the head goes: leave it out."
        )
    return AuxiliaryNetwork(module, classes, integer_seed(seed, "auxiliary"))


@contextlib.contextmanager
def dropping_features(module: nn.Module, chance: float) -> Iterator[None]:
    """While open, drop the inputs of the classifiers in training mode, each feature with the chance.

    Raises:
        IncompatibleError: the module has no linear classifier.
    """
    found = classifiers(module) if chance else []
    if chance and not found:
        raise IncompatibleError(
            f"training.dropout={chance} was given for a {type(module).__name__} without a linear classifier at its "
            "end; leave it out."
        )

    def drop(classifier: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
        return (functional.dropout(inputs[0], chance, classifier.training),)

    hooks = [classifier.register_forward_pre_hook(drop) for classifier in found]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def classifiers(module: nn.Module) -> list[nn.Linear]:
    """Return the linear layers that give a network's outputs; of another module the last one of all."""
    if not isinstance(module, Network):
        return [part for part in module.modules() if isinstance(part, nn.Linear)][-1:]
    lowered = module.plan.lowered
    outputs = {lowered.values[node] for nodes in lowered.outputs.values() for node in nodes}
    last = [module.module_of(place) for place, step in enumerate(module.plan.steps) if step.output in outputs]
    return [part for layer in last for part in layer.modules() if isinstance(part, nn.Linear)]
