"""The auxiliary head: in training only, behind its boundary, counted nowhere, and refused where there is no place."""

import pytest
import torch

from nasforge.build import AuxiliaryNetwork, WithAuxiliary, build_network, has_auxiliary
from nasforge.errors import IncompatibleError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.space import Input, SearchSpace, boundary
from nasforge.testing.spaces import count


def network(size=16, name="auxiliary"):
    x = boundary(name, Conv(4)(Input(3, size, size)))
    space = SearchSpace({"logits": Linear(5)(GlobalPool()(Conv(8)(x)))})
    return build_network(space.lower(space.architecture({})), seed=0), space


@pytest.mark.parametrize("size", [16, 14, 5, 4, 2])
def test_the_head_gives_logits_in_training_and_vanishes_in_evaluation(size):
    inner, space = network(size)
    before = count(inner)
    module, x = AuxiliaryNetwork(inner, 5), torch.randn(3, 3, size, size)
    found = module(x)
    assert isinstance(found, WithAuxiliary)
    assert found.outputs.shape == found.auxiliary.shape == (3, 5)
    assert count(inner) == before == space.params(space.architecture({}))
    module.eval()
    assert torch.equal(module(x), inner(x))


def test_the_head_of_16_pixels_has_the_released_shape():
    module = AuxiliaryNetwork(network(16)[0], 10)
    assert module.head.gather[0].weight.shape == (768, 128, 4, 4)
    assert count(module.head) == 4 * 128 + 2 * 128 + 128 * 768 * 16 + 2 * 768 + 768 * 10 + 10


def test_the_auxiliary_loss_reaches_only_what_lies_before_the_boundary():
    inner, _ = network()
    AuxiliaryNetwork(inner, 5)(torch.randn(2, 3, 16, 16)).auxiliary.sum().backward()
    reached = [name for name, value in inner.named_parameters() if value.grad is not None]
    assert reached
    assert len(reached) < len(list(inner.parameters()))
    assert inner.plan.steps[0].part == "conv"
    assert inner.module_of(0).weight.grad is not None


def test_a_network_without_the_boundary_is_refused():
    inner, _ = network(name="elsewhere")
    assert not has_auxiliary(inner)
    with pytest.raises(IncompatibleError, match="boundary"):
        AuxiliaryNetwork(inner, 5)
