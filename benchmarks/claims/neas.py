"""NEAS: the found ensemble against single networks and ensembles of other kinds; shrinking against none and random.

    python benchmarks/claims/neas.py [--seeds 0,1,2] [--quick]

50-class fractals of 16 pixels, six searchable layers of four operators. For each seed:

- A. `neas` trains a supernet of two paths and searches it within a limit on MACs; the same strategy trains a supernet
  of a single path and searches that within the same limit. Trained from scratch for equal numbers of steps: the found
  ensemble; the single network that its supernet rates best of those that spend at least 90 % of the ensemble's MACs;
  two heads on the trunk of the single network (all layers shared, as in NEAS-S); and the single network twice, from
  two seeds, their logits averaged (a deep ensemble; it costs twice the MACs and twice the training).
- B. Supernets are trained with the operators that die found by diversity and potential, by potential alone, by chance,
  or not at all. Each rule is judged by what it is for, a smaller space whose supernet tells ensembles apart: ensembles
  drawn from the space as that rule has left it are trained alone, and ranked by what they inherit from that supernet;
  so none of them holds an operator that had died. Beside that: how good ensembles of that space are on average, how
  good the one is that the search finds there, and on how many images its paths disagree.

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
from scipy import stats
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims.parts import BATCH, interval, part, result_name, train_shared
from nasforge_spaces.neas import Skeleton, neas
from record import record

from nasforge.build import Network, build_network
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.goals import Constraint
from nasforge.rng import generator
from nasforge.run.data import load_source
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem
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
STEPS: Final = {"shared": 1200, "alone": 500, "drawn": 300}
LR: Final = {"shared": 0.5, "alone": 0.4}
ENSEMBLES: Final = 10
RULES: Final = {"both": "diversity and potential", "potential": "potential", "random": "chance", "none": "none died"}
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
SECOND_HEADER: Final = [
    "operators die by",
    "Kendall tau",
    "95 % from",
    "to",
    "tau of MACs",
    "tau of NLL",
    "drawn, %",
    "found, %",
    "found, NLL",
    "paths disagree, %",
    "more than by potential",
    "95 % of that from",
    "to ",
]
MEANS: Final = ("tau_of_macs", "tau_of_nll", "drawn", "found", "found_nll", "disagreement")
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


def drawn(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Return different ensembles of a space, maybe a shrunk one."""
    rng, found = generator(seed, "neas-drawn"), dict[Architecture, None]()
    while len(found) < count:
        found[space.sample(rng)] = None
    return list(found)


# Training alone


class Ensemble(nn.Module):
    """Networks whose outputs are the heads of one ensemble."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [member(x) for member in self.members]


def trained(space: SearchSpace, architecture: Architecture, source: Any, steps: int, lr: float, seed: int) -> Network:
    network = build_network(space.lower(architecture), seed=seed)
    epochs = steps / (len(source.split("train").labels) // BATCH)
    train(network, source, Classification(), TrainConfig(epochs=epochs, batch_size=BATCH, lr=lr), seed)
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
    """Train a supernet and search it; return what was found, and what ensembles drawn from its space inherit."""
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
    inside = drawn(strategy.space, given["ensembles"], seed) if paths > 1 else []
    found: dict[str, Any] = {
        "alive": strategy.alive.tolist(),
        "inside": [list(each.decisions) for each in inside],
        "rated": [judge.evaluate(each) for each in inside],
    }
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
    found["inherited"] = judged(judge.network(best), source, "valid")
    return found


def shared(paths: int, rule: str, seed: int, given: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in given.items() if key not in ("steps_alone", "steps_drawn", "lr_alone")}
    settings = {"paths": paths, "rule": rule, "seed": seed, **own}
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


def alone(seed: int, decisions: list[int], given: dict[str, Any]) -> dict[str, Any]:
    """Train an ensemble from scratch; return what it reaches on test."""
    space, steps, lr = space_of(2), given["steps_drawn"], given["lr_alone"]

    def make() -> dict[str, Any]:
        source = source_of(seed)
        return judged(trained(space, space.from_decisions(decisions), source, steps, lr, seed), source)

    settings = {"network": decisions, "seed": seed, "steps": steps, "lr": lr, "skeleton": given["skeleton"]}
    found: dict[str, Any] = part("neas-truth", settings, make)
    return found


def shrunk(seed: int, rule: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return how a rule does: taus inside its space, and its ensembles trained alone."""
    read, space = shared(2, rule, seed, given), space_of(2)
    real = [alone(seed, each, given) for each in read["inside"]]
    best = alone(seed, read["found"], given)
    accuracies = [each["accuracy"] for each in real]
    macs = [space.macs(space.from_decisions(each)) for each in read["inside"]]
    return {
        "tau": tau([each["accuracy_valid"] for each in read["rated"]], accuracies),
        "tau_of_macs": tau(macs, accuracies),
        "tau_of_nll": tau([each["nll_valid"] for each in read["rated"]], [each["nll"] for each in real]),
        "drawn": float(np.mean(accuracies)),
        "found": best["accuracy"],
        "found_nll": best["nll"],
        "disagreement": best["disagreement"],
        "inherited_disagreement": read["inherited"]["disagreement"],
        "drawn_accuracies": accuracies,
        "rated": read["rated"],
        "macs": macs,
        "alive": read["alive"],
    }


def tau(ratings: list[float], truths: list[float]) -> float:
    """Return Kendall's tau; 0 where one of both is constant."""
    value = float(stats.kendalltau(ratings, truths).statistic)
    return 0.0 if np.isnan(value) else value


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


def second_table(found: list[dict[str, dict[str, Any]]]) -> list[list[Any]]:
    """Return a row for each rule, from what each seed gave by rule."""
    rows: list[list[Any]] = []
    for rule, name in RULES.items():
        each = [by_rule[rule] for by_rule in found]
        mean = {key: float(np.mean([row[key] for row in each])) for key, value in each[0].items() if key in MEANS}
        more = [100 * (by_rule[rule]["disagreement"] - by_rule["potential"]["disagreement"]) for by_rule in found]
        rows.append([name, *interval([row["tau"] for row in each]), mean["tau_of_macs"], mean["tau_of_nll"]])
        rows[-1] += [100 * mean["drawn"], 100 * mean["found"], mean["found_nll"], 100 * mean["disagreement"]]
        rows[-1] += interval(more) if rule != "potential" else ["", "", ""]
    return rows


def verdicts(found: list[dict[str, dict[str, Any]]]) -> dict[str, bool]:
    """Return what was asked for."""

    def gains(key: str, other: str) -> list[float]:
        return [by_rule["both"][key] - by_rule[other][key] for by_rule in found]

    asked = {
        f"tau of diversity and potential above that of '{RULES[other]}' in every seed": min(gains("tau", other)) > 0
        for other in ("none", "random")
    }
    apart = interval(gains("disagreement", "potential"))
    asked["found paths disagree more than by potential alone, on average"] = apart[0] > 0
    asked["and the 95 % interval of that is above 0"] = apart[1] > 0
    return asked


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
        "steps_drawn": 10 if options.quick else STEPS["drawn"],
        "lr_shared": LR["shared"],
        "lr_alone": LR["alone"],
        "ensembles": 4 if options.quick else ENSEMBLES,
        "search": {
            **SEARCH,
            **({"population": 3, "generations": 1, "crossover": 1, "mutation": 1} if options.quick else {}),
        },
        "limit": limit(),
        "skeleton": repr(SKELETON),
        "version": 2,
    }
    record_name = functools.partial(result_name, data=DATA, quick=options.quick)
    plain = {**given, "of_seeds": list(seeds), "data": DATA, "pixels": SIZE, "batch": BATCH}
    if options.only != "shrinking":
        rows, details = first_table(seeds, given)
        record(record_name("neas_ensemble"), FIRST_HEADER, rows, {**plain, **details})
    if options.only != "ensemble":
        found = [{rule: shrunk(seed, rule, given) for rule in RULES} for seed in seeds]
        asked = verdicts(found)
        record(
            record_name("neas_shrinking"), SECOND_HEADER, second_table(found), {**plain, "found": found, "asked": asked}
        )
        sys.stdout.write("".join(f"{what}: {'yes' if held else 'missed'}\n" for what, held in asked.items()))


if __name__ == "__main__":
    main()
