"""The suite of spaces finds what plug-in authors get wrong: each space here breaks one promise, one test says so."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Body, Input, Operator, SearchSpace, choice
from nasforge.testing.spaces import SpaceSuite

numbers = itertools.count()


@dataclass(frozen=True)
class Honest(Operator):
    """A convolution that says what it is."""

    out: Any = 4
    kernel: Any = 3

    def expand(self, body: Body) -> int:
        return body.add("conv", Conv(self.out, self.kernel), -1)


class UncountedParams(Honest):
    def params(self, inputs):
        return super().params(inputs) - self.out


class UncountedMacs(Honest):
    def macs(self, inputs):
        return super().macs(inputs) // 2


class ForgetsKernel(Honest):
    """Two kernels under one identity: the same network twice, says its id."""

    def identity(self, inputs):
        return f"forgets-{inputs[0]}-{self.out}"

    def key(self, inputs):
        return self.identity(inputs)


def suite(operator, name="kernel"):
    class Suite(SpaceSuite):
        architectures, networks, runs = 20, 4, 2

        def declare(self):
            kernel = choice(1, 3, name=name() if callable(name) else name)
            x = operator(choice(4, 8, name="width"), kernel)(Input(3, 6, 6), name="block")
            return SearchSpace({"logits": Linear(3)(GlobalPool()(x))}, name="under_test")

    return Suite()


TESTS = sorted(name for name in dir(SpaceSuite) if name.startswith("test_"))


def failing(tested, folder):
    found = []
    for name in TESTS:
        arguments = (folder,) if "onnx" in name else ()
        try:
            getattr(tested, name)(*arguments)
        except AssertionError:
            found.append(name)
    return found


def test_an_honest_space_passes(tmp_path):
    assert failing(suite(Honest), tmp_path) == []


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        (suite(UncountedParams), "test_formula_params_equal_counted_params"),
        (suite(UncountedMacs), "test_formula_macs_equal_counted_operations"),
        (suite(ForgetsKernel), "test_equal_network_ids_mean_equal_networks"),
        (
            suite(Honest, name=lambda: f"kernel{next(numbers)}"),
            "test_a_second_declaration_has_the_same_fingerprint_and_choices",
        ),
    ],
    ids=["params", "macs", "identity", "names"],
)
def test_a_broken_promise_is_found(tested, expected, tmp_path):
    assert expected in failing(tested, tmp_path)
