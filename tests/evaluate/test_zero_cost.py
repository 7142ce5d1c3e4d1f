"""Each zero-cost score is what its paper says on networks small enough to compute by hand, and leaves no trace."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasforge import registry
from nasforge.build import build_network
from nasforge.errors import EvaluationError, NotInstalledError
from nasforge.evaluate.zero_cost import (
    Batch,
    Scorer,
    ZeroCostEvaluator,
    grad_norm,
    jacov,
    macs,
    make_scorer,
    naswot,
    params,
    scoring_batch,
    snip,
    synflow,
)
from nasforge.evaluate.zero_cost.jacov import K
from nasforge.evaluate.zero_cost.jacov import score as jacobian_score
from nasforge.evaluate.zero_cost.naswot import agreements
from nasforge.layers.drop_path import DropPath
from nasforge.ops import Conv, GlobalPool, Identity, Linear, MBConv
from nasforge.ops import DropPath as DropPathOp
from nasforge.space import Input, SearchSpace, choice, one_of, repeat
from nasforge.tasks.classification import Classification
from nasforge.tasks.datasets.digits import load

SCORES: dict[str, Callable[[nn.Module, Batch], float]] = {
    "grad_norm": grad_norm,
    "jacov": jacov,
    "naswot": naswot,
    "snip": snip,
    "synflow": synflow,
}
SEEDS = st.integers(0, 10_000)


def random_batch(images: int = 8, shape: tuple[int, ...] = (3, 8, 8), classes: int = 4, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(images, *shape, generator=rng), torch.randint(0, classes, (images,), generator=rng))


def plain_network(seed: int = 0) -> nn.Module:
    """Convolution, normalisation, dropout and all: everything a pass could leave a trace in."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        DropPath(0.5),
        nn.Dropout(0.5),
        nn.Conv2d(6, 5, 3, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    )


def two_layers(first: Tensor, second: Tensor) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(*first.T.shape, bias=False), nn.Linear(*second.T.shape, bias=False))
    network.load_state_dict({"0.weight": first, "1.weight": second})
    return network


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_synflow_of_a_linear_network_is_twice_its_flow(seed: int) -> None:
    """R = 1' |B| |A| 1, and each layer's sum of w dR/dw is R (Euler: R is linear in each layer)."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(2, 3)).astype(np.float32)
    network = two_layers(torch.from_numpy(a), torch.from_numpy(b))
    flow = float((np.abs(b).astype(float) @ np.abs(a).astype(float)).sum())
    assert synflow(network, random_batch(shape=(4,))) == pytest.approx(math.log(2 * flow), abs=1e-12)


def test_synflow_takes_normalisation_biases_and_saturation_out() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 3), nn.Linear(3, 2)
    bare = two_layers(first.weight.detach() * 100, second.weight.detach())
    with torch.no_grad():
        first.weight *= 100
    expected = synflow(bare, random_batch(shape=(4,)))
    for between in (nn.Identity(), nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.BatchNorm1d(3), nn.LayerNorm(3)):
        network = nn.Sequential(first, between, second)
        assert synflow(network, random_batch(shape=(4,))) == pytest.approx(expected, abs=1e-12)


def test_synflow_does_not_overflow_where_single_precision_would() -> None:
    layers = [nn.Linear(50, 50, bias=False) for _ in range(60)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1.0)
    found = synflow(nn.Sequential(*layers), random_batch(shape=(50,)))
    assert found == pytest.approx(math.log(60) + 61 * math.log(50), abs=1e-9)  # 50^61 is 10^103


def test_synflow_of_what_nothing_flows_through_is_minus_infinity() -> None:
    network = two_layers(torch.zeros(3, 4), torch.ones(2, 3))
    assert synflow(network, random_batch(shape=(4,))) == -math.inf


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (outputs - targets).square().sum()


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_snip_and_grad_norm_of_a_linear_network_by_hand(seed: int) -> None:
    """Loss 1/2 |B A x - t|^2: dL/dB = e (A x)', dL/dA = B' e x'."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(2, 3))
    x, t = rng.normal(size=(1, 4)), rng.normal(size=(1, 2))
    network = two_layers(torch.from_numpy(a), torch.from_numpy(b)).double()
    network.load_state_dict({"0.weight": torch.from_numpy(a), "1.weight": torch.from_numpy(b)})
    batch = Batch(torch.from_numpy(x), torch.from_numpy(t), squared)
    error = b @ a @ x[0] - t[0]
    by_b, by_a = np.outer(error, a @ x[0]), np.outer(b.T @ error, x[0])
    assert snip(network, batch) == pytest.approx(np.abs(by_a * a).sum() + np.abs(by_b * b).sum(), rel=1e-9)
    assert grad_norm(network, batch) == pytest.approx(np.linalg.norm(by_a) + np.linalg.norm(by_b), rel=1e-9)


def test_snip_and_grad_norm_leave_out_biases_and_normalisation() -> None:
    network, batch = plain_network(), random_batch()
    before = snip(network, batch), grad_norm(network, batch)
    weights = {name for name, each in network.named_parameters() if each.dim() > 1}
    assert len(weights) == 3
    network.eval()
    for module in network.modules():
        module.train(isinstance(module, nn.BatchNorm2d))
    network.zero_grad()
    nn.functional.cross_entropy(network(batch.images), batch.labels).backward()
    found = {name: each for name, each in network.named_parameters() if name in weights}
    products = sum(float((each.detach() * each.grad).abs().sum()) for each in found.values())
    norms = sum(float(each.grad.norm()) for each in found.values())
    assert before == (pytest.approx(products, rel=1e-5), pytest.approx(norms, rel=1e-5))


class Codes(nn.Module):
    """Gives each image of a batch, whose pixels are its code, to a ReLU."""

    def __init__(self, *after: nn.Module) -> None:
        super().__init__()
        self.after = nn.ModuleList(after)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.after:
            x = module(x)
        return x


CODES = torch.tensor([[1.0, 1.0, -1.0, -1.0, 1.0], [1.0, -1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 2.0, -3.0, 0.0]])
"""Places in which two of them agree: 3 (first and second), 1 (first and third), 1 (second and third); 0 is off."""
KERNEL = np.array([[5, 3, 1], [3, 5, 1], [1, 1, 5]])


@pytest.mark.parametrize("unit", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(0.1)])
def test_naswot_of_known_codes(unit: nn.Module) -> None:
    batch = Batch(CODES.clone(), torch.zeros(3, dtype=torch.long))
    assert agreements(CODES).tolist() == KERNEL.tolist()
    assert naswot(Codes(unit), batch) == pytest.approx(math.log(np.linalg.det(KERNEL)), abs=1e-12)
    assert torch.equal(batch.images, CODES) or getattr(unit, "inplace", False)


def test_naswot_adds_the_kernels_of_all_rectifiers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.ReLU(), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) + self.second(x[:, :2].flatten(1))[:, :1]

    batch = Batch(CODES, torch.zeros(3, dtype=torch.long))
    expected = KERNEL + agreements(CODES[:, :2])
    assert naswot(Twice(), batch) == pytest.approx(math.log(np.linalg.det(expected)), abs=1e-12)


def test_naswot_of_equal_codes_is_minus_infinity_and_without_a_relu_an_error() -> None:
    batch = Batch(torch.ones(3, 5), torch.zeros(3, dtype=torch.long))
    assert naswot(Codes(nn.ReLU()), batch) == -math.inf
    with pytest.raises(EvaluationError, match="has none; take another"):
        naswot(Codes(nn.SiLU()), batch)


def test_jacov_of_uncorrelated_jacobians_is_the_best_there_is() -> None:
    """Centred orthogonal rows have the unit matrix as correlation: every eigenvalue is 1."""
    rows = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
    assert jacobian_score(rows) == pytest.approx(-3 * (math.log(1 + K) + 1 / (1 + K)), abs=1e-9)
    equal = np.array([[1.0, 2.0, 4.0]] * 3)  # eigenvalues 3, 0, 0
    expected = -(math.log(3 + K) + 1 / (3 + K)) - 2 * (math.log(K) + 1 / K)
    assert jacobian_score(equal) == pytest.approx(expected, rel=1e-6)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_jacov_does_not_see_scale_offset_or_order_of_jacobians(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(5, 30))
    changed = rng.permutation(rows * rng.uniform(0.1, 10, (5, 1)) + rng.normal(size=(5, 1)))
    assert jacobian_score(changed) == pytest.approx(jacobian_score(rows), rel=1e-9)
    assert jacobian_score(rows) <= -5 * (math.log(1 + K) + 1 / (1 + K)) + 1e-9


def test_jacov_of_a_network_is_that_of_its_images_gradients() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.ReLU(), nn.Linear(9, 4))
    batch = random_batch(5, (3, 4, 4))
    rows = []
    for image in batch.images:
        x = image[None].clone().requires_grad_()
        network(x).sum().backward()
        rows.append(x.grad.reshape(-1).double().numpy())
    assert jacov(network, batch) == pytest.approx(jacobian_score(np.asarray(rows)), rel=1e-3)
    assert math.isnan(jacov(two_layers(torch.zeros(3, 4), torch.ones(2, 3)), random_batch(shape=(4,))))


def trace(network: nn.Module) -> dict[str, Any]:
    """Return everything a pass could have changed, and an output of the network as it stands."""
    return {
        "state": {name: each.clone() for name, each in network.state_dict().items()},
        "gradients": [None if each.grad is None else each.grad.clone() for each in network.parameters()],
        "wanted": [each.requires_grad for each in network.parameters()],
        "types": [each.dtype for each in network.state_dict().values()],
        "modes": [module.training for module in network.modules()],
        "hooks": [
            (len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
            for module in network.modules()
        ],
        "objects": [id(each) for each in (*network.parameters(), *network.buffers())],
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_leaves_the_network_the_images_and_the_generator_as_they_were(name: str) -> None:
    network, batch = plain_network(), random_batch()
    network.train()
    network[4].eval()
    network[0].weight.requires_grad_(False)
    network[5].weight.grad = torch.ones_like(network[5].weight)
    before, images, state = trace(network), batch.images.clone(), torch.get_rng_state()
    first = SCORES[name](network, batch)
    assert same(trace(network), before)
    assert torch.equal(batch.images, images)
    assert not batch.images.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        assert SCORES[name](network, batch) == first
    network.eval()
    assert SCORES[name](network, batch) == first  # modes of before do not matter


@pytest.mark.parametrize("name", SCORES)
def test_a_score_that_fails_leaves_no_trace_either(name: str) -> None:
    network = plain_network()
    before = trace(network)
    with pytest.raises(RuntimeError):
        SCORES[name](network, random_batch(shape=(3, 1, 1)))  # too small for the second convolution
    assert same(trace(network), before)


def choice_space() -> SearchSpace:
    """Every option matters to every score: width, kernel, depth, a residual that may drop, and an MBConv."""
    x = Conv(choice(4, 8, name="width"), 3, 2)(Input(3, 8, 8), name="stem")
    x = repeat(lambda x, i: Conv(8, choice(1, 3, name=f"k{i}"))(x, name=f"c{i}"), x, depth=choice(1, 2, name="depth"))
    x = MBConv(8, kernel=3, expansion=2)(x, name="block")
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name="mixed")


SPACE = choice_space()
DIGITS = load(None, limit=200).sealed()
BATCH = scoring_batch(DIGITS, Classification(), seed=0, images=16)


def test_counts_are_those_of_the_formulas() -> None:
    for architecture in SPACE.enumerate():
        network = build_network(SPACE.lower(architecture), seed=0)
        assert params(network, BATCH) == SPACE.params(architecture)
        assert macs(network, BATCH) == SPACE.macs(architecture)
    with pytest.raises(EvaluationError, match="a Sequential was given"):
        macs(plain_network(), BATCH)


@pytest.mark.parametrize("name", registry.installed("scores"))
def test_scores_of_architectures_depend_on_architecture_and_seed_alone(name: str) -> None:
    every = list(SPACE.enumerate())
    found = make_scorer(name, SPACE, BATCH, seed=3)(every)
    again = make_scorer(name, SPACE, BATCH, seed=3)
    torch.manual_seed(5)
    assert [again.of(each) for each in reversed(every)] == found[::-1].tolist()
    assert found.shape == (len(every),)
    assert np.isfinite(found).all()
    assert len(set(found.tolist())) > len(every) // 2
    other = make_scorer(name, SPACE, BATCH, seed=4)(every)
    assert (other == found).all() == (name in ("params", "macs"))
    assert make_scorer(name, SPACE, BATCH)([]).shape == (0,)


def test_an_architecture_is_scored_once_and_copies_of_a_scorer_are_light() -> None:
    asked = []

    def score(network: nn.Module, batch: Batch) -> float:
        asked.append(network)
        return float(len(asked))

    scorer = Scorer("mine", score, SPACE, BATCH)
    first, second = list(SPACE.enumerate())[:2]
    assert scorer([first, second, first]).tolist() == [1.0, 2.0, 1.0]
    assert scorer.of(second) == 2.0
    assert len(asked) == 2
    copy = pickle.loads(pickle.dumps(Scorer("snip", snip, SPACE, BATCH, 7)))
    assert copy.of(first) == Scorer("snip", snip, SPACE, BATCH, 7).of(first)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_nan_as_a_feature_and_an_error_as_an_evaluation(value: float) -> None:
    scorer = Scorer("odd", lambda network, batch: value, SPACE, BATCH)
    first = next(iter(SPACE.enumerate()))
    assert math.isnan(scorer.of(first))
    with pytest.raises(EvaluationError, match=f"odd of .*'depth': '1'.* is {value}"):
        ZeroCostEvaluator(scorer).evaluate(first)


def test_a_network_without_relu_has_no_naswot() -> None:
    x = Conv(choice(2, 4, name="width"), act="swish")(Input(3, 8, 8))
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(x))})
    scorer = make_scorer("naswot", space, BATCH)
    first = next(iter(space.enumerate()))
    assert np.isnan(scorer([first])).all()
    with pytest.raises(EvaluationError, match="ReLU"):
        ZeroCostEvaluator(scorer).evaluate(first)


def test_the_evaluator_gives_the_score_by_name_whatever_fidelity_and_seed() -> None:
    scorer = make_scorer("naswot", SPACE, BATCH, seed=1)
    first = next(iter(SPACE.enumerate()))
    evaluator = ZeroCostEvaluator(scorer)
    assert evaluator.evaluate(first) == evaluator.evaluate(first, 3.0, 9) == {"naswot": scorer.of(first)}


def test_the_batch_is_of_training_images_drawn_by_the_seed() -> None:
    first, again, other = (scoring_batch(DIGITS, Classification(), seed, 16) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (16, 3, 8, 8)
    assert len(scoring_batch(DIGITS, Classification(), 0, 10_000).labels) == len(DIGITS.split("train"))
    train = DIGITS.preprocessing.normalise(DIGITS.split("train").images)
    assert all((train == image).flatten(1).all(dim=1).any() for image in first.images)


def test_paths_that_may_drop_are_not_dropped() -> None:
    x = Conv(4, 3, 2)(Input(3, 8, 8), name="stem")
    x = DropPathOp(1.0)(Conv(4, 3)(x, name="path"))
    x = one_of([Identity()(x), Conv(4, 1)(x, name="one")], by=choice("skip", "conv", name="op"))
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(x))})
    network = build_network(space.lower(next(iter(space.enumerate()))), seed=0)
    dropping = [module for module in network.modules() if isinstance(module, DropPath)]
    assert dropping
    expected = snip(network, BATCH)
    for module in dropping:
        module.chance = 0.9
    network.train()
    assert snip(network, BATCH) == expected


def test_an_unknown_score_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(NotInstalledError, match=r"score 'naswott' is not installed; .*Did you mean 'naswot'"):
        make_scorer("naswott", SPACE, BATCH)
