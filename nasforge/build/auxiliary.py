"""The auxiliary head: a second classifier in the middle of a network, for training only.

A space says where with `boundary("auxiliary", node)`. The head is put around a finished network and never becomes
a part of it, so parameters, latency, saved weights and exported files are those of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.build.network import Network
from nasforge.errors import IncompatibleError

BOUNDARY: Final = "auxiliary"
"""Name of the boundary behind which the head is put."""
WEIGHT: Final = 0.4
"""What NASNet weights the auxiliary loss by."""


@final
class WithAuxiliary(NamedTuple):
    """What a network with an auxiliary head gives in training."""

    outputs: Any
    """The network's own outputs."""
    auxiliary: Tensor
    """Logits of the head, (batch, classes)."""


@final
class AuxiliaryHead(nn.Module):
    """NASNet's: ReLU, average pool 5x5 stride 3 without padding, 1x1 to 128, the whole map to 768, linear.

    Maps smaller than 5 pixels are pooled whole, into one.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        """Build the head for maps of `shape`, (channels, height, width)."""
        super().__init__()
        channels, height, width = shape
        self.window = (min(5, height), min(5, width))
        left = ((height - self.window[0]) // 3 + 1, (width - self.window[1]) // 3 + 1)
        self.project = nn.Sequential(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU())
        self.gather = nn.Sequential(nn.Conv2d(128, 768, left, bias=False), nn.BatchNorm2d(768), nn.ReLU())
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, classes) of a map (batch, channels, height, width)."""
        x = functional.avg_pool2d(functional.relu(x), self.window, 3)
        found: Tensor = self.classifier(self.gather(self.project(x)).flatten(1))
        return found


@final
class AuxiliaryNetwork(nn.Module):
    """A network with an auxiliary head: `WithAuxiliary` in training, the network alone in evaluation."""

    def __init__(self, network: Network, classes: int, seed: int = 0) -> None:
        """Put a head behind the network's boundary `auxiliary`.

        Args:
            network: keeps its parameters and is trained along, as `network`.
            classes: number of logits of the head.
            seed: of the head's initial weights.

        Raises:
            IncompatibleError: the space names no such boundary.
        """
        super().__init__()
        if not has_auxiliary(network):
            raise IncompatibleError(
                f"the network has no boundary '{BOUNDARY}' for an auxiliary head; declare one in its space "
                f"(boundary('{BOUNDARY}', node)), or train without a head."
            )
        self.network = network
        lowered = network.plan.lowered
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = AuxiliaryHead(lowered.nodes[lowered.cuts[BOUNDARY]].output_type.shape, classes)

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> Any:
        """Run the network, and in training the head."""
        if not self.training:
            return self.network(x)
        outputs, reached = self.network.with_boundary(x, BOUNDARY)
        return WithAuxiliary(outputs, self.head(reached))


def has_auxiliary(network: Network) -> bool:
    """Say whether a network's space names a place for an auxiliary head."""
    return BOUNDARY in network.plan.lowered.cuts
