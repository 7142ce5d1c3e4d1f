"""What the processes of test_distributed.py run: `python rank_script.py FOLDER RANK SIZE CASE...`.

Each case leaves `CASE.SIZE.RANK.pt` with the end state, or the sentence of what ended it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from nasforge.errors import DivergedError
from nasforge.ops import Conv, GlobalPool, Linear, Zero, residual
from nasforge.run.batches import BatchStream
from nasforge.run.checkpoint import Checkpoints
from nasforge.run.distributed import Ranks
from nasforge.run.options import make_strategy
from nasforge.run.pace import Pace
from nasforge.run.progress import Listener
from nasforge.run.shared_training import SharedTraining
from nasforge.run.team import Alone, Team
from nasforge.space import Input, SearchSpace, choice, one_of, repeat
from nasforge.strategy import Problem, WeightSharing
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load
from nasforge.testing.small_spaces import elastic_space, path_space

STEPS = 8
PATHS = {"warmup": 0.25, "arch_every": 2, "arch_after": 0.0, "arch_lr": 0.1, "lr": 0.1, "weight_decay": 0.01}
CASES: dict[str, dict[str, Any]] = {
    "bignas": {"strategy": "bignas", "options": {"lr": 0.1, "clip": 0.05}},
    "bignas_rmsprop": {"strategy": "bignas", "options": {"optimiser": "rmsprop", "lr": 0.001, "schedule": "progress"}},
    "bignas_resized": {"strategy": "bignas", "options": {"lr": 0.1}, "cut": 3},
    "bignas_different": {"strategy": "bignas", "options": {"lr": 0.1}, "paths": "different"},
    "bignas_norm": {"strategy": "bignas", "options": {"lr": 0.1}, "norm": True},
    "bignas_clock": {"strategy": "bignas", "options": {}, "seconds": 1.0},
    "bignas_nan": {"strategy": "bignas", "options": {}, "nan": 3},
    "proxyless": {"strategy": "proxyless", "options": PATHS},
    "proxyless_all": {"strategy": "proxyless", "options": {**PATHS, "mode": "full_v2", "latency_loss": "add"}},
    "proxyless_resized": {"strategy": "proxyless", "options": PATHS, "cut": 4},
    "proxyless_norm": {"strategy": "proxyless", "options": PATHS, "norm": True},
    "proxyless_unused": {"strategy": "proxyless", "options": {**PATHS, "warmup": 0.9}, "steps": 3},
    "proxyless_nan": {"strategy": "proxyless", "options": PATHS, "nan": 4},
    "proxyless_rl": {"strategy": "proxyless_rl", "options": {**PATHS, "networks": 4, "batches": 2}},
}


def plain_paths() -> SearchSpace:
    x = Conv(6, 3, norm=False)(Input(3, 8, 8), name="stem")
    for i in range(3):
        candidates = [Conv(6, kernel, norm=False)(x, name=f"b{i}.k{kernel}") for kernel in (1, 3, 5)]
        x = residual(one_of([*candidates, Zero()(x, name=f"b{i}.zero")], name=f"b{i}"), x, name=f"b{i}.sum")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x), name="classifier")}, name="plain_paths")


def plain_elastic() -> SearchSpace:
    width = choice(4, 8, name="width")
    x = Conv(width, 3, norm=False)(Input(3, 8, 8), name="stem")
    x = repeat(
        lambda source, place: Conv(width, choice(1, 3, name=f"kernel{place}"), norm=False)(source),
        x,
        depth=choice(1, 2, 3, name="depth", kind="depth"),
        name="end",
    )
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x), name="classifier")}, name="plain_elastic")


class Doubled:
    """A loader whose images are float64."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def length(self, number: int) -> int:
        return self._loader.length(number)

    def batch(self, number: int, begin: int = 0, end: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        images, targets = self._loader.batch(number, begin, end)
        return images.double(), targets


class Precise(Classification):  # type: ignore[misc]  # final for all but this test
    """A task whose accuracy is no float32, the rounding of which Adam would blow up where rewards are nearly equal."""

    def metrics(self, outputs: Any, targets: torch.Tensor) -> dict[str, float]:
        return {"accuracy": float((outputs.argmax(dim=1) == targets).double().mean())}


class Spoilt(Precise):
    """A task whose loss is NaN from a step on."""

    def __init__(self, after: int) -> None:
        self.calls, self.after = 0, after

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        self.calls += 1
        return super().loss(outputs, targets, smoothing) * (float("nan") if self.calls > self.after else 1.0)


def training_of(case: str, team: Team, rank: int, size: int, task: Any = None) -> SharedTraining:
    given = CASES[case]
    strategy = make_strategy(given["strategy"], given["options"])
    assert isinstance(strategy, WeightSharing)
    elastic = given["strategy"] == "bignas"
    if given.get("norm"):
        space = elastic_space() if elastic else path_space()
    else:
        space = plain_elastic() if elastic else plain_paths()
    problem = Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")})
    strategy.setup(problem)
    source = load(limit=200).sealed()
    streams = (
        BatchStream(Doubled(Loader(source, split, 17, 3, training=split == "train", shuffle=True)), "cpu", rank, size)
        for split in ("train", "valid")
    )
    seconds = given.get("seconds")
    pace = Pace([p.share for p in strategy.phases()], None if seconds else given.get("steps", STEPS), seconds)
    return SharedTraining(strategy, problem, task or Precise(), *streams, pace, 5, "cpu", team)


class Until(Listener):
    """Asks to stop when so many steps are done."""

    def __init__(self, steps: int | None, ranks: Ranks | None = None) -> None:
        self.steps, self.ranks, self.heard = steps, ranks, 0

    def progress(self, done: float, figures: Any) -> None:
        self.heard += 1
        if self.ranks is not None and self.steps is not None and self.heard >= self.steps - 1:
            self.ranks.stop = True


def run(case: str, folder: Path, rank: int, size: int) -> Any:
    given = CASES[case]
    ranks = Ranks(given.get("paths", "same"))
    task = Spoilt(given["nan"]) if "nan" in given and rank == size - 1 else None
    training = training_of(case, ranks, rank, size, task)
    cut, checkpoints = given.get("cut"), Checkpoints(folder / case)
    if cut and size == 3:
        training.load_state(checkpoints.load("training"))
        assert training.step == cut

    def save(kind: str, state: Any) -> None:
        if cut and size == 2 and rank == 0:
            checkpoints.save(kind, state)

    stop = Until(cut if size == 2 and rank == 1 else None, ranks)
    try:
        training.run(stop, save)
    except DivergedError as error:
        return str(error)
    return training.state()


def main(folder: Path, rank: int, size: int, cases: list[str]) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group.{size}", rank=rank, world_size=size)
    try:
        for case in cases:
            torch.save(run(case, folder, rank, size), folder / f"{case}.{size}.{rank}.pt")
    finally:
        dist.destroy_process_group()


def alone(case: str) -> Any:
    training = training_of(case, Alone(), 0, 1)
    training.run(Until(None), lambda kind, state: None)
    return training.state()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
