"""NEAS: the found ensemble against single networks and ensembles of other kinds; shrinking against none and random.

    python benchmarks/claims/neas.py [--seeds 0,1,2] [--quick]

50-class fractals of 16 pixels, six searchable layers of four operators. For each seed:

- A. `neas` trains a supernet of two paths and searches it within a limit on MACs; the same strategy trains a supernet
  of a single path and searches that within the same limit. Trained from scratch for equal numbers of steps: the found
  ensemble; the single network that its supernet rates best of those that spend at least 90 % of the ensemble's MACs;
  two heads on the trunk of the single network (all layers shared, as in NEAS-S); and the single network twice, from
  two seeds, their logits averaged (a deep ensemble; it costs twice the MACs and twice the training).
- B. Supernets are trained with the operators that die found by diversity and potential, by chance, or not at all; the
  accuracies that each inherits to random ensembles are ranked against those of the ensembles trained alone, from two
  seeds.

Accuracies are on the test split; everything is chosen on valid. Learning rates were set with seed 9.
"""

from __future__ import annotations

import argparse
import functools
import sys
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, interval, part, result_name, train_shared
from nasforge_spaces.neas import Skeleton, neas
from record import record

from nasforge.bench.ranking import honest_ranking
from nasforge.build import Network, build_network
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.data import load_source
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem
from nasforge.strategy.ensemble import EnsembleSpace
from nasforge.tasks import Loader
from nasforge.tasks.classification import Classification
from nasforge.training import TrainConfig, train
from nasforge.training.processor import prepare_processor

DATA: Final = "fractals"
SIZE: Final = 16
"""Pixels: a quarter of the cost of 32."""
SKELETON: Final = Skeleton(
    16, ((16, 2, 1), (24, 2, 2), (40, 2, 2)), 96, 0, (3, 5), (2, 4), skip=False, se=0.0, zero_init=True
)
STEPS: Final = {"shared": 1200, "alone": 500}
LR: Final = {"shared": 0.5, "alone": 0.4}
ENSEMBLES: Final = 12
TRUTH_SEEDS: Final = (0, 1)
RULES: Final = ("both", "random", "none")
SEARCH: Final = {"population": 16, "generations": 4, "parents": 5, "crossover": 6, "mutation": 6}
LIMIT_SHARE: Final = 0.6
"""Where the limit lies between the cheapest and the dearest single network."""
SPENDS: Final = 0.9
"""Share of the ensemble's MACs that the single network has at least."""
IMAGES: Final = 512
FIRST_HEADER: Final = [
    "network",
    "accuracy, %",
    "NLL",
    "heads alone, %",
    "heads disagree, %",
    "MMACs",
    "ensemble is better by",
    "95 % from",
    "to",
]
SECOND_HEADER: Final = ["rating", "Kendall tau", "95 % from", "to", "tau of NLL", "tau given MACs"]
ARMS: Final = ("found ensemble", "single network", "two heads, one trunk", "two seeds of the single network")


@functools.cache
def source_of(seed: int) -> Any:
    return load_source(DATA, {"limit": 5000, "size": SIZE}, seed)


def space_of(paths: int) -> SearchSpace:
    return neas((3, SIZE, SIZE), 50, skeleton=SKELETON, paths=paths)


def limit() -> float:
    single = space_of(1)
    least, most = single.macs(single.smallest()), single.macs(single.largest())
    return float(round(least + LIMIT_SHARE * (most - least)))


def random_ensembles(count: int) -> list[Architecture]:
    space, rng = space_of(2), generator(0, "neas-truth")
    return [space.sample(rng) for _ in range(count)]


# Training alone


class Ensemble(nn.Module):
    """Networks whose outputs are the heads of one ensemble."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [member(x) for member in self.members]


def divide_at_split(network: Network, space: SearchSpace, architecture: Architecture) -> None:
    """Divide the gradients of what the heads share by their number: the loss is the sum of those of the heads."""
    read = EnsembleSpace.of(space, "neas")
    if read.paths == 1:
        return
    split = read.read(architecture).split
    shared = ("stem", "first", *(f"layer{layer}/" for layer in range(1, split + 1)))
    for name, parameter in network.layers.named_parameters():
        if name.startswith(shared):
            parameter.register_hook(lambda gradient: gradient / read.paths)


def loss_of(images: torch.Tensor, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    heads = outputs if isinstance(outputs, list) else [outputs]
    return torch.stack([Classification().loss(head, targets) for head in heads]).sum()


def trained(space: SearchSpace, architecture: Architecture, source: Any, steps: int, lr: float, seed: int) -> Network:
    network = build_network(space.lower(architecture), seed=seed)
    divide_at_split(network, space, architecture)
    epochs = steps / (len(source.split("train").labels) // BATCH)
    train(network, source, Classification(), TrainConfig(epochs=epochs, batch_size=BATCH, lr=lr), seed, loss=loss_of)
    return network


@torch.no_grad()
def heads_of(network: nn.Module, source: Any, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of each head, (K, N, classes), and the labels (N,); normalisation by its running statistics."""
    network.eval()
    collect = [module for module in network.modules() if isinstance(module, Network)]
    logits, labels = [], []
    for module in collect:
        module.training = True  # heads come apart in training mode, layers stay in evaluation mode
    for images, targets in Loader(source, split, 256):
        found = network(images)
        flat = found if isinstance(found, list) else [found]
        logits.append(torch.stack([head for each in flat for head in (each if isinstance(each, list) else [each])]))
        labels.append(targets)
    for module in collect:
        module.training = False
    return torch.cat(logits, dim=1), torch.cat(labels)


def judged(network: nn.Module, source: Any, split: str = "test") -> dict[str, Any]:
    """Return accuracy and NLL of the mean logits, the accuracy of each head, and how often heads disagree."""
    logits, labels = heads_of(network, source, split)
    guesses = logits.argmax(dim=2)
    pairs = list(combinations(range(len(logits)), 2))
    return {
        **Classification().metrics(logits.mean(dim=0), labels),
        "heads": [float((guess == labels).float().mean()) for guess in guesses],
        "disagreement": float(np.mean([float((guesses[a] != guesses[b]).float().mean()) for a, b in pairs] or [0.0])),
        "nll_of_mean_probabilities": float(
            nn.functional.nll_loss(logits.softmax(dim=2).mean(dim=0).clamp_min(1e-12).log(), labels)
        ),
    }


# Supernets


def searched(paths: int, rule: str, seed: int, given: dict[str, Any]) -> dict[str, Any]:
    """Train a supernet and search it; return what was found, and what random ensembles inherit from it."""
    from nasforge_strategies.neas import NEAS

    source, space = source_of(seed), space_of(paths)
    strategy = NEAS(
        lr=given["lr_shared"],
        shrinking=rule,
        potential="nll",
        label_smoothing=0.0,
        **given["search"],  # type: ignore[arg-type]  # a name
    )
    problem = Problem(
        space,
        constraints=(Constraint("macs", given["limit"]),),
        costs={metric: space.cost(metric) for metric in ("params", "macs")},
    )
    training = train_shared(strategy, problem, source, given["steps_shared"], seed)
    judge = SharedEvaluator(training.modules["supernet"], Classification(), source, IMAGES)
    rated = []
    if paths > 1:
        rated = [judge.evaluate(each) for each in random_ensembles(given["ensembles"])]
    found: dict[str, Any] = {"alive": strategy.alive.tolist(), "rated": rated}
    if rule in ("both", "potential"):
        number, history = 0, []
        while proposals := strategy.ask(4, generator(seed, "neas-ask", number)):
            told = [Evaluation(number, p.architecture, judge.evaluate(p.architecture)) for p in proposals]
            strategy.tell(told)
            history += [each.metrics["accuracy_valid"] for each in told]
            number += len(told)
        ranked = strategy.derive()
        best = ranked[0]
        found |= {"ranked": [list(each.decisions) for each in ranked]}
        found |= {"found": list(best.decisions), "evaluations": number, "accuracy_valid": max(history)}
        found["described"] = space.describe(best)
        network = judge.network(best)
        found["inherited"] = judged(network, source, "valid")
    return found


def shared(paths: int, rule: str, seed: int, given: dict[str, Any]) -> dict[str, Any]:
    settings = {"paths": paths, "rule": rule, "seed": seed, **given}
    found: dict[str, Any] = part("neas-shared", settings, lambda: searched(paths, rule, seed, given))
    return found


# A


def retrained(seed: int, given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Train the found networks from scratch; return what each arm reaches on test, and its MACs."""
    pair, single = space_of(2), space_of(1)
    ensemble = pair.from_decisions(shared(2, "both", seed, given)["found"])
    spent = SPENDS * pair.macs(ensemble)
    ranked = [single.from_decisions(each) for each in shared(1, "potential", seed, given)["ranked"]]
    one = next((each for each in ranked if single.macs(each) >= spent), max(ranked, key=single.macs))
    trunk = {"split": "6", **single.describe(one)}
    two_heads = pair.architecture(trunk)
    chosen: dict[str, tuple[SearchSpace, Architecture, tuple[int, ...]]] = {
        ARMS[0]: (pair, ensemble, (0,)),
        ARMS[1]: (single, one, (0,)),
        ARMS[2]: (pair, two_heads, (0,)),
        ARMS[3]: (single, one, (0, 1)),
    }
    found = {}
    for arm, (space, architecture, copies) in chosen.items():

        def make(
            space: SearchSpace = space, architecture: Architecture = architecture, copies: tuple[int, ...] = copies
        ) -> dict[str, Any]:
            source = source_of(seed)
            steps, lr = given["steps_alone"], given["lr_alone"]
            nets = [trained(space, architecture, source, steps, lr, 100 * copy + seed) for copy in copies]
            return {**judged(Ensemble(list(nets)), source), "macs": len(copies) * space.macs(architecture)}

        settings = {"arm": arm, "network": list(architecture.decisions), "seed": seed, **alone_settings(given)}
        found[arm] = part("neas-alone", settings, make)
    return found


def alone_settings(given: dict[str, Any]) -> dict[str, Any]:
    return {key: given[key] for key in ("steps_alone", "lr_alone", "skeleton")}


# B


def truth(given: dict[str, Any]) -> np.ndarray:
    """Return (ensembles, seeds, 2): accuracy and NLL on test of random ensembles trained alone."""
    space, rows = space_of(2), []
    for number, architecture in enumerate(random_ensembles(given["ensembles"])):
        row = []
        for seed in TRUTH_SEEDS:

            def make(architecture: Architecture = architecture, seed: int = seed) -> list[float]:
                source = source_of(0)
                net = trained(space, architecture, source, given["steps_alone"], given["lr_alone"], 1000 + seed)
                found = judged(net, source)
                return [found["accuracy"], found["nll"]]

            row.append(part("neas-truth", {"number": number, "seed": seed, **alone_settings(given)}, make))
        rows.append(row)
    return np.asarray(rows)


def rankings(seeds: tuple[int, ...], given: dict[str, Any]) -> dict[str, Any]:
    space, real = space_of(2), truth(given)
    macs = np.asarray([space.macs(each) for each in random_ensembles(given["ensembles"])], dtype=float)
    found: dict[str, Any] = {"truth": real.tolist(), "macs": macs.tolist(), "rules": {}}
    for rule in reversed(RULES):  # the first is trained for the other table too, maybe at this moment
        rows = [shared(2, rule, seed, given)["rated"] for seed in seeds]
        found["rules"][rule] = [
            {
                name: honest_ranking(
                    sign * np.asarray([row[key] for row in each]), sign * real[:, :, place], macs
                ).to_json()
                for name, key, sign, place in (("accuracy", "accuracy_valid", 1, 0), ("nll", "nll_valid", -1, 1))
            }
            for each in rows
        ]
    return found


def first_table(seeds: tuple[int, ...], given: dict[str, Any]) -> tuple[list[list[Any]], dict[str, Any]]:
    found = [retrained(seed, given) for seed in seeds]
    rows: list[list[Any]] = []
    for arm in ARMS:
        each = [by_arm[arm] for by_arm in found]
        gains = [100 * (by_arm[ARMS[0]]["accuracy"] - by_arm[arm]["accuracy"]) for by_arm in found]
        mean, low, high = interval(gains)
        rows.append(
            [
                arm,
                100 * float(np.mean([row["accuracy"] for row in each])),
                float(np.mean([row["nll"] for row in each])),
                100 * float(np.mean([np.mean(row["heads"]) for row in each])),
                100 * float(np.mean([row["disagreement"] for row in each])),
                float(np.mean([row["macs"] for row in each])) / 1e6,
                *([mean, low, high] if arm != ARMS[0] else ["", "", ""]),
            ]
        )
    return rows, {"seeds": found}


def taus(ranked: dict[str, Any], rule: str, metric: str = "accuracy", key: str = "kendall") -> list[float]:
    """Return a coefficient of each seed's rating; 0 where it is undefined."""
    return [each[metric]["agreement"]["rating"][key]["value"] or 0.0 for each in ranked["rules"][rule]]


def second_table(ranked: dict[str, Any], count: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for rule in RULES:
        mean, low, high = interval(taus(ranked, rule))
        nll = float(np.mean(taus(ranked, rule, "nll")))
        given_macs = float(np.mean(taus(ranked, rule, key="kendall_given_macs")))
        name = {"both": "diversity and potential", "random": "random", "none": "none"}[rule]
        rows.append([f"shrinking: {name}", mean, low, high, nll, given_macs])
    first = ranked["rules"][RULES[0]][0]
    macs, ceiling = first["accuracy"]["agreement"]["macs"]["kendall"], first["accuracy"]["ceiling"]["kendall"]
    nll_macs, nll_ceiling = (first["nll"]["agreement"]["macs"]["kendall"], first["nll"]["ceiling"]["kendall"])
    rows.append(["MACs alone", macs["value"], macs["low"], macs["high"], nll_macs["value"], ""])
    both_seeds = f"two seeds of the truth, {count} ensembles"
    rows.append([both_seeds, ceiling["value"], ceiling["low"], ceiling["high"], nll_ceiling["value"], ""])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2", help="by comma")
    parser.add_argument("--steps-shared", type=int, default=STEPS["shared"])
    parser.add_argument("--steps-alone", type=int, default=STEPS["alone"])
    parser.add_argument("--only", choices=("ensemble", "shrinking"), help="only one of the two tables")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    prepare_processor()
    seeds = (0,) if options.quick else tuple(int(each) for each in options.seeds.split(","))
    given: dict[str, Any] = {
        "steps_shared": 12 if options.quick else options.steps_shared,
        "steps_alone": 10 if options.quick else options.steps_alone,
        "lr_shared": LR["shared"],
        "lr_alone": LR["alone"],
        "ensembles": 4 if options.quick else ENSEMBLES,
        "search": {
            **SEARCH,
            **({"population": 3, "generations": 1, "crossover": 1, "mutation": 1} if options.quick else {}),
        },
        "limit": limit(),
        "skeleton": repr(SKELETON),
    }
    record_name = functools.partial(result_name, data=DATA, quick=options.quick)
    plain = {**given, "of_seeds": list(seeds), "data": DATA, "pixels": SIZE, "batch": BATCH}
    if options.only != "shrinking":
        rows, details = first_table(seeds, given)
        record(record_name("neas_ensemble"), FIRST_HEADER, rows, {**plain, **details})
    if options.only != "ensemble":
        ranked = rankings(seeds, given)
        record(
            record_name("neas_shrinking"), SECOND_HEADER, second_table(ranked, given["ensembles"]), {**plain, **ranked}
        )
        both, chance, none = (np.asarray(taus(ranked, rule)) for rule in RULES)
        sys.stdout.write(f"\nboth - none by seed: {both - none}; both - random: {both - chance}\n")


if __name__ == "__main__":
    main()
