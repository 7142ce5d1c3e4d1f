"""What operators of a layer are worth in an ensemble: potential and diversity, and which is worst by both.

The article names both parts and not their formulas; these are a reconstruction, and each of them can be switched off.
All state is in buffers, so that it survives a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.space.paths import shared_boundary
from nasforge.strategy.ensembles.genes import Alive, EnsembleSpace

Array = npt.NDArray[np.float64]
RULES: Final = ("both", "potential", "diversity", "random", "none")
"""By what the worst operator of a layer is found; `none` drops none."""
FEATURES: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "pooled": lambda x: x.mean(dim=(2, 3)),
    "flat": lambda x: x.flatten(1),
}
"""How a map (N, C, H, W) becomes the feature that is compared."""


@final
class OperatorScores(nn.Module):
    """Which operators are alive, and the running potential of each.

    The potential of an operator is the running mean of how much better than all recent ones the ensembles did that
    contain it. Against the running mean of all, because weights get better with time, and an operator drawn less often
    of late would look worse for that alone; the first values of each operator count as in a plain mean, so that none is
    drawn towards a start at zero.

    Buffers:
        alive: bool (layers, options).
        potential, counts: float64 (layers, options).
        baseline: float64 (2,), running mean of all values and their number.
    """

    alive: Tensor
    potential: Tensor
    counts: Tensor
    baseline: Tensor

    def __init__(self, allowed: Alive, decay: float = 0.95) -> None:
        """Start with all allowed operators alive and nothing measured."""
        super().__init__()
        self.decay = decay
        self.register_buffer("alive", torch.from_numpy(allowed.copy()))
        self.register_buffer("potential", torch.zeros(allowed.shape, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(allowed.shape, dtype=torch.float64))
        self.register_buffer("baseline", torch.zeros(2, dtype=torch.float64))

    def alive_mask(self) -> Alive:
        """Return which operators are alive."""
        found: Alive = self.alive.cpu().numpy().copy()
        return found

    def observe(self, operators: npt.NDArray[np.int64], value: float) -> None:
        """Take in how well an ensemble did (more is better).

        Args:
            operators: option of each layer of each path, (layers, K); one that several paths use counts once.
            value: accuracy, or minus the loss.
        """
        self.baseline[1] += 1
        self.baseline[0] += self._weight(float(self.baseline[1])) * (value - self.baseline[0])
        gain = value - float(self.baseline[0])
        for layer, row in enumerate(operators):
            for option in sorted({int(each) for each in row}):
                self.counts[layer, option] += 1
                weight = self._weight(float(self.counts[layer, option]))
                self.potential[layer, option] += weight * (gain - self.potential[layer, option])

    def _weight(self, count: float) -> float:
        return max(1.0 - self.decay, 1.0 / count)

    def drop(self, layer: int, option: int) -> None:
        """Let an operator die."""
        self.alive[layer, option] = False


def rank_scores(potential: Sequence[float], diversity: Sequence[float], balance: float, rule: str) -> Array:
    """Return rank(potential) / n + balance x rank(diversity) / n of the n operators of one layer; more is better.

    Ranks, because distances of different layers, and distances and accuracies, have no common scale.

    >>> rank_scores([0.1, 0.3, 0.2], [5.0, 1.0, 4.0], 0.5, "both").round(2).tolist()
    [0.83, 1.17, 1.0]

    Raises:
        UsageError: an unknown rule, or one that ranks nothing.
    """
    if rule not in ("both", "potential", "diversity"):
        raise UsageError(unknown_name_sentence("rule of operator scores", rule, ("both", "potential", "diversity")))
    shares = [np.asarray(stats.rankdata(values), dtype=np.float64) / len(values) for values in (potential, diversity)]
    weights = {"both": (1.0, balance), "potential": (1.0, 0.0), "diversity": (0.0, 1.0)}[rule]
    return np.asarray(weights[0] * shares[0] + weights[1] * shares[1])


def mean_distances(features: Sequence[Tensor]) -> Array:
    """Return the mean distance of each operator's L2-normalised feature to the others', (n,); 0 for a single one.

    Args:
        features: (N, features) of each operator, for the same N inputs of the layer.
    """
    unit = [functional.normalize(each.double(), dim=1) for each in features]
    if len(unit) < 2:
        return np.zeros(len(unit))
    apart = [[float((one - other).norm(dim=1).mean()) for other in unit] for one in unit]
    return np.asarray(np.asarray(apart).sum(axis=1) / (len(unit) - 1))


@torch.no_grad()
def diversities(
    run: Callable[..., Tensor], ensemble: EnsembleSpace, alive: Alive, operators: Sequence[int], x: Tensor, kind: str
) -> list[Array]:
    """Return for each layer the mean distance of every operator alive to the others alive, in order of options.

    All operators of a layer are given the same input: what the shared layers before it, with `operators`, make of the
    images. What is compared is the output of the layer with its shortcut, which a skipped layer has too.

    Args:
        run: `Supernet.run` of a supernet of the root space.
        ensemble: the space.
        alive: which operators.
        operators: one for each layer, whose output the next layer is given.
        x: images (N, C, H, W).
        kind: of `FEATURES`.

    Raises:
        UsageError: an unknown kind of feature.
    """
    if kind not in FEATURES:
        raise UsageError(unknown_name_sentence("feature", kind, FEATURES))
    found = []
    value = run(x, ensemble.shared_throughout(operators), stop=shared_boundary(0))
    for layer in range(ensemble.layers):
        outputs = {}
        for option in np.flatnonzero(alive[layer]).tolist():
            changed = [*operators[:layer], option, *operators[layer + 1 :]]
            cuts = {"start": shared_boundary(layer), "stop": shared_boundary(layer + 1)}
            outputs[option] = run(value, ensemble.shared_throughout(changed), **cuts)
        found.append(mean_distances([FEATURES[kind](each) for each in outputs.values()]))
        value = outputs[int(operators[layer])]
    return found
