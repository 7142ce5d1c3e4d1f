"""Random elastic spaces and supernets, whose weights and statistics are off their initial values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nasforge.build import Supernet
from nasforge.ops import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Conv2d,
    GlobalPool,
    Identity,
    LayerNorm,
    Linear,
    MBConv,
    Pool,
    SeparableConv,
    UnusedConcat,
    Zero,
    residual,
)
from nasforge.space import Input, SearchSpace, choice, inputs, one_of, repeat
from nasforge.testing.spaces import scrambled


def elastic_stage(x, rng, name):
    """Elastic width, kernel, expansion (with and without the layer), squeeze-excite and depth."""
    width = choice(4, 6, 9, name=f"{name}.width")

    def block(source, place):
        body = MBConv(
            width,
            choice(1, 3, 5, name=f"{name}.{place}.kernel"),
            choice(1, 1.5, 2, name=f"{name}.{place}.expansion"),
            se=choice(0.0, 0.5, name=f"{name}.{place}.se"),
            act=choice("relu", "hswish", name=f"{name}.{place}.act"),
        )(source, name=f"{name}.{place}")
        return body if place == 0 else residual(body, source, name=f"{name}.{place}.sum")

    return repeat(block, x, depth=choice(1, 2, 3, name=f"{name}.depth"))


def operator_stage(x, rng, name):
    """A choice of operator with weights of their own, one that vanishes, and a projecting shortcut."""
    kernel = choice(1, 3, name=f"{name}.kernel", share="none")
    candidates = [
        Conv(6, kernel, bias=True)(x, name=f"{name}.conv"),
        SeparableConv(6, 3)(x, name=f"{name}.sep"),
        Zero(out=6)(x, name=f"{name}.zero"),
    ]
    return residual(one_of(candidates, name=name), x, project="conv", name=f"{name}.sum")


def concat_stage(x, rng, name):
    """Two branches of elastic width side by side; what reads them must find each at its place."""
    left = Conv(choice(2, 5, name=f"{name}.left"), 3)(x, name=f"{name}.a")
    right = Conv(choice(3, 4, name=f"{name}.right"), 1)(x, name=f"{name}.b")
    joined = BatchNorm()(Concat()(left, right, name=f"{name}.join"), name=f"{name}.bn")
    deep = Conv2d(0, choice(3, 5, name=f"{name}.dw"), depthwise=True, bias=True)(joined, name=f"{name}.dw")
    return Conv2d(6, 1, bias=True)(LayerNorm()(deep, name=f"{name}.ln"), name=f"{name}.out")


def cell_stage(x, rng, name):
    """States that choose their inputs, pruned where cut off; the unused ones are joined."""
    states = [Conv(choice(4, 6, name=f"{name}.width"), 1)(x, name=f"{name}.pre")]
    picks = []
    for number in range(2):
        (source,) = inputs(1, states, name=f"{name}.in{number}") if len(states) > 1 else (states[0],)
        made = [Identity()(source), Pool(choice("max", "avg", name=f"{name}.pool{number}"), 3)(source), Zero()(source)]
        states.append(Add()(states[0], one_of(made, name=f"{name}.op{number}"), name=f"{name}.add{number}"))
        picks.append(source)
    used = [node.op.index for node in picks if hasattr(node.op, "index")]
    joined = UnusedConcat(used=used[0].map(lambda i: (i,)), extra=(2,))(*states, name=f"{name}.join")
    return Conv2d(5, 1)(Activation("relu")(joined), name=f"{name}.out")


STAGES = (elastic_stage, operator_stage, concat_stage, cell_stage)


def make_space(seed):
    """Return a space of two or three random stages on 3 x 6 x 6 pixels."""
    rng = np.random.default_rng(seed)
    x = Conv(choice(3, 5, 8, name="stem"), 3, act="relu6")(Input(3, 6, 6), name="stem")
    for place, number in enumerate(rng.integers(len(STAGES), size=int(rng.integers(2, 4)))):
        x = STAGES[int(number)](x, rng, f"s{place}")
    return SearchSpace({"logits": Linear(4)(GlobalPool()(x, name="pool"), name="head")}, name=f"random{seed}")


@pytest.fixture(scope="session")
def elastic_space():
    """The maker of random elastic spaces, by seed."""
    return make_space


@pytest.fixture(scope="session")
def elastic_supernet():
    """The maker of float64 supernets of random elastic spaces, by seed."""

    def make(seed):
        return scrambled(Supernet(make_space(seed)).double())

    return make


@pytest.fixture
def batch():
    """The maker of float64 images of 3 x 6 x 6 pixels."""

    def make(count=6, seed=0):
        return torch.randn(count, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    return make
