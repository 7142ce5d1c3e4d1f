"""A training step of strategies that share weights, against the passes that it must make.

    python benchmarks/shared_steps.py [--quick] [--strategies bignas,shiftnas]

Batch 64, 32 pixels, one thread. Each step is made twice, with the same draws: shapes of convolutions that were not met
before cost what is no part of the step, and would be known to whatever comes second. The second time it is timed, and
noted is which passes it makes (images, architecture, boundaries, with gradient or without; masked ones among them).
Right after it the bare passes are timed: the same forward passes by the same supernet, a backward pass through each
that had a gradient, and one step of each optimiser that was stepped. The median of the ratios of such pairs; beside it
bare passes over the same bare passes (A/A).
Drawing architectures, making batches, losses, distillation, controllers and EMA twins are what a step does besides. The
heads of `bossnas` (lifts, projectors, predictors) are part of its passes; its second row counts them as something else.

Steps of `shiftnas` are of four kinds, all in the part in which theta is learned, timed apart: one that trains weights
alone, one in which the generator learns costs too, one in which it also sees the task's loss, and one in which theta is
moved (by `reward`, a pass for each bin; it is the generator's turn as well). Of other strategies it is the first phase.

In the JSON file: what K paths of `neas` compute against one trunk and K branches, and the bytes they keep for backward.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from record import record
from torch import nn

from nasforge import registry
from nasforge.build import Supernet
from nasforge.run.batches import BatchStream
from nasforge.run.options import make_strategy
from nasforge.run.pace import Pace
from nasforge.run.shared_training import SharedTraining
from nasforge.strategy import Problem, WeightSharing
from nasforge.strategy.bins.generator_learning import fixed_weights
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.training.processor import prepare_processor

PAIRS = {
    "bignas": ("bignas", {"preset": "small"}),
    "spos": ("mbconv", {}),
    "shiftnas": ("bignas", {"preset": "small"}),
    "neas": ("neas", {"preset": "small"}),
    "bossnas": ("nats_sss", {"preset": "small"}),
    "pooling_mixture": ("pooling", {"preset": "small"}),
}
GOAL = 1.10
SHIFT = 1
Call = tuple[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any], bool]


@dataclass(frozen=True)
class Kind:
    """A kind of step: its phase, its number in it, and after how many updates of the generator; None: as it comes.

    Heads are lists of modules: those of a strategy are passed through as the supernets are, unless this says otherwise.
    """

    label: str = ""
    phase: int = 0
    phase_step: int | None = None
    updates: int | None = None
    heads: bool = True

    def prepare(self, training: SharedTraining) -> None:
        """Make the next step one of this kind."""
        if self.phase_step is not None:
            training.phase_step = self.phase_step
        if self.updates is not None:
            training.modules["generator"].updates.fill_(self.updates)


KINDS = {
    "shiftnas": (
        Kind("weights", SHIFT, 1),
        Kind("and generator", SHIFT, 2, 1),
        Kind("and its task", SHIFT, 2, 0),
        Kind("generator and theta", SHIFT, 50, 1),
    ),
    "bossnas": (Kind(), Kind("supernets alone", heads=False)),
}


@contextmanager
def noting(calls: list[Call], heads: list[nn.Module]) -> Iterator[None]:
    """Note every pass through a supernet or a head while open."""

    def noted_head(head: nn.Module, arguments: tuple[Any, ...]) -> None:
        inputs = tuple(_detached(each).requires_grad_() for each in arguments)
        calls.append((nn.Module.__call__, head, inputs, {}, torch.is_grad_enabled()))

    hooks = [head.register_forward_pre_hook(noted_head) for head in heads]
    kept = {name: getattr(Supernet, name) for name in ("forward", "run", "with_boundary", "run_masked")}

    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Supernet, x: Any, *rest: Any, **named: Any) -> Any:
            arguments = tuple(_detached(each) for each in (x, *rest))
            kept_named = {name: _detached(each) for name, each in named.items()}
            outputs = method(self, x, *rest, **named)
            calls.append((method, self, arguments, kept_named, torch.is_grad_enabled()))  # not those that were refused
            return outputs

        return call

    for name, method in kept.items():
        setattr(Supernet, name, noted(method))
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(Supernet, name, method)
        for hook in hooks:
            hook.remove()


def _detached(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _detached(each) for name, each in x.items()}
    return x.detach() if isinstance(x, torch.Tensor) else x


def scalar(outputs: Any) -> torch.Tensor:
    """Return some scalar of outputs, so that there is something to go backward from."""
    if isinstance(outputs, dict):
        return scalar(list(outputs.values()))
    if isinstance(outputs, list | tuple):
        return torch.stack([scalar(each) for each in outputs]).sum()
    return outputs.float().square().mean()


def bare(calls: list[Call], optimisers: list[torch.optim.Optimizer]) -> None:
    """Make the noted passes, and step."""
    for method, net, arguments, named, with_gradient in calls:
        with torch.set_grad_enabled(with_gradient):
            if method.__name__ == "run_masked":
                value = masked(net, *arguments, **named)
            else:
                with net.recording() if isinstance(net, Supernet) else nullcontext():
                    value = scalar(method(net, *arguments, **named))
        if with_gradient:
            value.backward()
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def masked(net: Supernet, x: Any, architectures: Any, shares: dict[str, torch.Tensor]) -> torch.Tensor:
    """Make a masked pass whose gradient goes to the shares, the weights being constants."""
    leaves = {name: share.clone().requires_grad_() for name, share in shares.items()}
    with fixed_weights(net):
        return scalar(net.run_masked(x, architectures, leaves))


def training_of(name: str, space: Any, source: Any, steps: int) -> SharedTraining:
    strategy = make_strategy(name, {})
    assert isinstance(strategy, WeightSharing)
    problem = Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")}, budget=16)
    strategy.setup(problem)
    streams = (
        BatchStream(Loader(source, "train", 64, 1, training=True)),
        BatchStream(Loader(source, "valid", 64, 1, shuffle=True)),
    )
    pace = Pace([phase.share for phase in strategy.phases()], steps, None)
    return SharedTraining(strategy, problem, Classification(), *streams, pace, 1)


def timed(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun


def measure(name: str, kind: Kind, source: Any, pairs: int) -> tuple[list[Any], dict[str, Any]]:
    """Return the table's row of a kind of step of a strategy, and what it is the median of."""
    space_name, options = PAIRS[name]
    space = registry.load("spaces", space_name)(input_shape=source.input_shape, classes=len(source.classes), **options)
    training = training_of(name, space, source, 10_000)
    phase = training.phases[kind.phase]
    training._strategy.start_phase(phase, training.modules)
    for module in training.modules.values():
        module.train()
    heads = [head for part in training.modules.values() if isinstance(part, nn.ModuleList) for head in part]
    ratios, same, passes, seconds = [], [], [], []
    for number in range(pairs + 2):
        kind.prepare(training)
        training._one_step(phase, 0.5)
        kind.prepare(training)
        calls: list[Call] = []
        with noting(calls, heads if kind.heads else []):
            whole = timed(lambda: training._one_step(phase, 0.5))
        optimisers = list(training.optimisers.values())
        first = timed(partial(bare, calls, optimisers))
        again = timed(partial(bare, calls, optimisers))
        training.step += 1
        training.phase_step += 1
        if number >= 2:
            ratios.append(whole / (0.5 * (first + again)))
            same.append(first / again)
            passes.append(sum(isinstance(call[1], Supernet) for call in calls))
            seconds.append(whole)
    ratio = statistics.median(ratios)
    row = [
        f"{name}: {kind.label}" if kind.label else name,
        space_name,
        statistics.median(passes),
        round(1000 * statistics.median(seconds)),
        round(ratio, 3),
        f"{min(ratios):.3f}-{max(ratios):.3f}",
        round(statistics.median(same), 3),
        "yes" if ratio <= GOAL else "no",
    ]
    return row, {"strategy": name, "kind": kind.label, "ratios": ratios, "a_a": same, "seconds": seconds}


def saved_bytes(action: Callable[[], Any], parameters: set[int]) -> int:
    """Return the bytes that autograd keeps of an action, parameters left out, each storage once."""
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = action()
    del outputs
    return sum(size for size, _ in kept.values())


def one_trunk(source: Any, count: int) -> list[dict[str, float]]:
    """Return for random ensembles of `neas` what they keep for backward, and what they compute.

    Multiply-accumulates of what is computed, over those of one trunk and K branches (1 where the trunk is computed
    once) and over those of K separate networks.
    """
    space = registry.load("spaces", "neas")(input_shape=source.input_shape, classes=len(source.classes))
    supernet = Supernet(space).train()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in supernet.parameters()}
    images = Loader(source, "train", 64, 1, training=True).batch(0)[0]
    rng, rows = np.random.default_rng(0), []
    for _ in range(count):
        ensemble = space.sample(rng)
        kept = saved_bytes(lambda ensemble=ensemble: supernet(images, ensemble), parameters)
        lowered = space.lower(ensemble)
        paths = [_behind(lowered, head) for head in next(iter(lowered.outputs.values()))]
        trunk = set.intersection(*paths)
        macs = [node.op.macs(node.input_types) for node in lowered.nodes]
        expected = sum(macs[n] for n in trunk) + sum(macs[n] for path in paths for n in path - trunk)
        apart = sum(macs[n] for path in paths for n in path)
        rows.append(
            {
                "saved_bytes": float(kept),
                "macs_over_trunk_and_branches": sum(macs) / expected,
                "macs_over_paths_apart": sum(macs) / apart,
            }
        )
    return rows


def _behind(lowered: Any, head: int) -> set[int]:
    found, stack = set(), [head]
    while stack:
        number = stack.pop()
        if number not in found:
            found.add(number)
            stack.extend(lowered.nodes[number].inputs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pairs; the result has its own name")
    parser.add_argument("--strategies", default=",".join(PAIRS))
    options = parser.parse_args()
    pairs = 2 if options.quick else 30
    prepare_processor()
    source = registry.load("datasets", "fractals")(limit=600)
    rows, details = [], []
    for name in options.strategies.split(","):
        for kind in KINDS.get(name, (Kind(),)):
            row, detail = measure(name, kind, source, pairs)
            rows.append(row)
            details.append(detail)
    record(
        "shared_steps_quick" if options.quick else "shared_steps",
        ("strategy", "space", "passes", "ms", "step / bare passes", "range", "A/A", f"<= {GOAL}"),
        rows,
        {"pairs": pairs, "batch": 64, "all": details, "K paths of neas": one_trunk(source, min(pairs, 8))},
    )


if __name__ == "__main__":
    main()
