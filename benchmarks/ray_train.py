"""Training of shared weights on Ray Train: images a second of two single-threaded workers against one.

    python benchmarks/ray_train.py [--quick]

One run of TorchTrainer with two workers, 32 x 32 pixels. In turns the first worker trains alone while the other waits,
then both train as one: each with the batch that the one had (same batch per worker), or with half of it (same batch
together). Steps are timed inside the first worker, after a warm-up, by the loop that a search uses; ratios are of the
rounds of one turn, and A/A is of two rounds alone of one turn. Below the table: what averaging gradients of the size
of the supernet takes by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import TorchConfig, TorchTrainer
from record import record

from nasforge.run.distributed import Ranks
from nasforge.run.engine import Engine
from nasforge.run.plan import make_plan
from nasforge.run.progress import Listener, Silent
from nasforge.run.ray import connected
from nasforge.run.settings import Settings
from nasforge.run.setup import Given, Setup, set_up
from nasforge.run.shared_training import make_shared_training
from nasforge.run.team import Alone
from nasforge.tasks.dataset import make_source
from nasforge.testing.target import MemoryTarget
from nasforge.training.processor import prepare_processor

GOAL = 1.7
BATCH = 64
IMAGES = 1280
SPACES = {"bignas": "mbconv_elastic", "proxyless": "mbconv"}
ALONE, SAME_EACH, SAME_TOGETHER = "alone", "same batch per worker", "same batch together"
ROUNDS = (ALONE, SAME_EACH, ALONE, SAME_TOGETHER)


class Clock(Listener):
    """Notes when each step has ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        self.ended.append(time.perf_counter())


def set_up_for(strategy: str, batch: int) -> Setup:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8), np.arange(IMAGES, dtype=np.int64) % 10
    source = make_source("noise", images, None, tuple("0123456789"))
    given = {"space": SPACES[strategy], "strategy": strategy, "training": {"batch_size": batch}, "workers": 2}
    setup = set_up(Settings.read(given), Given(source=source, target=MemoryTarget()), Silent())
    return dataclasses.replace(setup, open_source=setup.source, target=None, predictor=None)


def images_a_second(setup: Setup, team: Ranks | Alone, steps: int, warm: int) -> float:
    """Train from the start and return images a second of the steps after the warm-up, over all workers."""
    batch = setup.settings.training["batch_size"]
    images = len(setup.source.split("train").labels)
    plan = make_plan(setup.settings.budget, {}, images, shares_weights=True, retrains=False)
    epochs = (warm + steps) / (images // batch)
    clock = Clock()
    training = make_shared_training(setup, dataclasses.replace(plan, shared_epochs=epochs), "cpu", team)
    training.run(clock, lambda kind, state: None)
    assert len(clock.ended) == warm + steps
    return steps * batch / (clock.ended[-1] - clock.ended[warm - 1])


def all_reduce_ms(values: int, repetitions: int) -> float:
    flat, taken = torch.randn(values), []
    for _ in range(repetitions):
        dist.barrier()
        begun = time.perf_counter()
        dist.all_reduce(flat)
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def work(config: dict[str, Any]) -> dict[str, Any]:
    threads = prepare_processor()
    single, double = ray.get(config["setups"])
    ranks, found = Ranks(), []
    for turn in range(config["turns"]):
        for kind in ROUNDS if turn % 2 else ROUNDS[::-1]:
            dist.barrier()
            if kind != ALONE:
                setup = double if kind == SAME_EACH else single
                found.append((turn, kind, images_a_second(setup, ranks, config["steps"], config["warm"])))
            elif ranks.rank == 0:
                found.append((turn, kind, images_a_second(single, Alone(), config["steps"], config["warm"])))
    parameters = sum(p.numel() for p in single.strategy.modules(single.problem, 0)["supernet"].parameters())
    reduced = all_reduce_ms(parameters, 50)
    return {"rounds": found, "threads": threads, "parameters": parameters, "all_reduce_ms": reduced}


def measured(strategy: str, turns: int, steps: int, warm: int) -> dict[str, Any]:
    setups = [ray.put(set_up_for(strategy, batch)) for batch in (BATCH, 2 * BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = TorchTrainer(
            work,
            train_loop_config={"setups": setups, "turns": turns, "steps": steps, "warm": warm},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
            run_config=ray.train.RunConfig(name="benchmark", storage_path=str(Path(folder).resolve())),
        )
        found: dict[str, Any] = trainer.fit().return_value
    return found


def spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def rows_of(strategy: str, found: dict[str, Any]) -> list[list[Any]]:
    turns: dict[int, dict[str, list[float]]] = {}
    for turn, kind, speed in found["rounds"]:
        turns.setdefault(turn, {}).setdefault(kind, []).append(speed)
    alone = [statistics.mean(turn[ALONE]) for turn in turns.values()]
    again = [turn[ALONE][0] / turn[ALONE][1] for turn in turns.values()]
    rows = [[strategy, "A/A (one worker)", statistics.median(alone), statistics.median(again), spread(again), ""]]
    for kind in (SAME_EACH, SAME_TOGETHER):
        speeds = [turn[kind][0] for turn in turns.values()]
        ratios = [speed / one for speed, one in zip(speeds, alone, strict=True)]
        ratio = statistics.median(ratios)
        goal = f">= {GOAL}: {'yes' if ratio >= GOAL else 'no'}"
        rows.append([strategy, kind, statistics.median(speeds), ratio, spread(ratios), goal])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one strategy, a few steps")
    quick = parser.parse_args().quick
    turns, steps, warm = (1, 3, 1) if quick else (7, 30, 8)
    rows, details = [], {}
    with connected(Engine(), 2):
        for strategy in list(SPACES)[: 1 if quick else None]:
            found = measured(strategy, turns, steps, warm)
            rows += rows_of(strategy, found)
            details[strategy] = found
    header = ["strategy", "two workers against one", "images/s", "ratio", "smallest and largest", "goal"]
    setting = {"batch of one worker": BATCH, "pixels": 32, "steps": steps, "warm-up": warm, "turns": turns}
    record(f"ray_train{'_quick' if quick else ''}", header, rows, {"setting": setting, **details})
    for strategy, found in details.items():
        print(
            f"{strategy}: averaging {found['parameters']:,} gradients takes {found['all_reduce_ms']:.2f} ms "
            f"({found['threads']} thread each)"
        )


if __name__ == "__main__":
    main()
