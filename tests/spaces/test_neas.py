"""The space `neas`: size, counts of the released networks, the accounting of trunk, branches and heads, bad input."""

import time

import numpy as np
import pytest
import torch
from nasforge_spaces.neas import ARCHITECTURES, FULL, SMALL, Skeleton, neas
from torch import nn

from nasforge.build import Supernet, build_network, export_onnx, extract
from nasforge.errors import IncompatibleError, SpaceError
from nasforge.ops import MBConv
from nasforge.strategy import Problem
from nasforge.targets.ort_session import file_function
from nasforge.testing.spaces import assert_close, scrambled

PUBLISHED = {"neas-s": 314, "neas-m": 472, "neas-l": 574}
MACS = {"neas-s": 301_500_768, "neas-m": 449_351_296, "neas-l": 553_140_864}
PARAMS = {"neas-s": 8_657_656, "neas-m": 11_551_936, "neas-l": 12_444_832}


def hooked_macs(network, shape):
    """Count multiply-accumulates of convolutions and matrix products of a torch module, by hooks."""
    total = [0]

    def conv(module, inputs, output):
        total[0] += output[0].numel() * module.weight[0].numel()

    def linear(module, inputs, output):
        total[0] += module.weight.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(conv)
        if isinstance(module, nn.Linear):
            module.register_forward_hook(linear)
    with torch.no_grad():
        network.eval()(torch.zeros(1, *shape))
    return total[0]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_released_networks_have_the_published_count_as_closely_as_normalisations_explain(name):
    """Their authors' counter (ptflops) adds two operations for each value that is normalised; nothing else is known."""
    space, architecture = ARCHITECTURES[name]()
    assert space.macs(architecture) == MACS[name]
    assert space.params(architecture) == PARAMS[name]
    lowered = space.lower(architecture)
    steps = [step for step in lowered.steps if type(step.op).__name__ == "BatchNorm"]
    normalised = sum(step.output_type.size for step in steps)
    assert -0.05 < MACS[name] / 1e6 / PUBLISHED[name] - 1 < -0.03
    assert -0.015 < (MACS[name] + 2 * normalised) / 1e6 / PUBLISHED[name] - 1 < 0


def test_counts_are_those_of_hooks():
    space, architecture = ARCHITECTURES["neas-m"]()
    assert hooked_macs(build_network(space.lower(architecture), seed=0), (3, 224, 224)) == MACS["neas-m"]
    small, rng = neas((3, 28, 28), 10), np.random.default_rng(0)
    for _ in range(5):
        architecture = small.sample(rng)
        assert hooked_macs(build_network(small.lower(architecture), seed=0), (3, 28, 28)) == small.macs(architecture)


def test_shared_layers_count_once_and_split_ones_and_heads_k_times():
    for paths in (2, 3):
        space = neas((3, 32, 32), 10, paths=paths)
        labels = {f"trunk.{layer}": "k3e2" for layer in range(1, 7)}
        ends = [space.architecture({"split": str(split), **_labels(split, paths)}) for split in (2, 4, 6)]
        single = neas((3, 32, 32), 10, paths=1)
        one = single.macs(single.architecture(labels))
        head = space.lower(ends[-1]).nodes
        heads = sum(node.op.macs(node.input_types) for node in head if node.name.startswith("path1"))
        assert space.macs(ends[2]) == one + (paths - 1) * heads
        blocks = [node for node in single.lower(single.architecture(labels)).nodes if isinstance(node.op, MBConv)]
        tail = sum(node.op.macs(node.input_types) for node in blocks[5:])
        assert space.macs(ends[1]) == space.macs(ends[2]) + (paths - 1) * tail
        assert space.macs(ends[0]) > space.macs(ends[1])


def _labels(split, paths):
    own = {f"path{path}.{layer}": "k3e2" for path in range(1, paths + 1) for layer in range(split + 1, 7)}
    return {**{f"trunk.{layer}": "k3e2" for layer in range(1, split + 1)}, **own}


def test_sizes_are_exact_and_fast():
    begun = time.perf_counter()
    space = neas()
    options = [6, 7, 7, 7] * 5

    def product(values):
        return int(np.prod(np.asarray(values, dtype=object)))

    assert space.size == sum(product(options[:s]) * product(options[s:]) ** 2 for s in (4, 8, 12, 16, 20))
    assert time.perf_counter() - begun < 5
    assert neas((3, 32, 32), 10).size == 4**2 * 4**8 + 4**4 * 4**4 + 4**6
    assert neas((3, 32, 32), 10, paths=1).size == 4**6
    assert neas((3, 32, 32), 10, splits=(2, 4)).size == 4**10 + 4**8


def test_with_all_layers_shared_the_heads_read_identical_features():
    space = neas((3, 32, 32), 10)
    architecture = space.architecture({"split": "6", **{f"trunk.{layer}": "k5e2" for layer in range(1, 7)}})
    net = scrambled(Supernet(space)).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        trunk = net.run(x, architecture, stop="shared6")
        outputs, value = net.with_boundary(x, architecture, "shared6")
    assert torch.equal(trunk, value)
    lowered = space.lower(architecture)
    mixes = [node for node in lowered.nodes if node.name.endswith(".mix")]
    assert len({node.inputs for node in mixes}) == 1
    assert outputs.shape == (2, 10)


def test_heads_come_as_a_list_in_training_and_as_mean_logits_in_evaluation_and_in_the_file(tmp_path):
    space = neas((3, 32, 32), 10)
    architecture = space.sample(np.random.default_rng(3))
    network = extract(scrambled(Supernet(space)), architecture)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        heads = network(x)
        mean = network.eval()(x)
    assert len(heads) == 2
    assert_close(mean, torch.stack(heads).mean(dim=0), 1e-5)
    path = tmp_path / "ensemble.onnx"
    export_onnx(network, (3, 32, 32), path)
    found = file_function(path)(x.numpy())
    assert np.allclose(np.asarray(found).reshape(2, 10), mean.numpy(), atol=1e-3)


def test_paths_use_the_same_weights_for_the_same_operator_of_a_layer():
    space = neas((3, 32, 32), 10)
    net = scrambled(Supernet(space)).eval()
    same = space.architecture({"split": "2", **_labels(2, 2)})
    shared = space.architecture({"split": "6", **_labels(6, 2)})
    with torch.no_grad():
        x = torch.randn(2, 3, 32, 32)
        assert_close(net(x, same), net(x, shared), 1e-6)


def test_a_restricted_space_keeps_the_weights_and_other_splits_the_fingerprint():
    space, fewer = neas((3, 32, 32), 10), neas((3, 32, 32), 10, splits=(2,))
    assert fewer.fingerprint == space.fingerprint
    net = Supernet(fewer)
    assert {name for name, _ in net.named_parameters()} == {name for name, _ in Supernet(space).named_parameters()}


@pytest.mark.parametrize("size", [8, 12, 28, 32])
def test_small_images_have_the_small_preset(size):
    space = neas((3, size, size), 7)
    network = build_network(space.lower(space.sample(np.random.default_rng(0))), seed=0).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, size, size)).shape == (2, 7)
    assert SMALL.layers == 6
    assert SMALL.ends == (2, 4, 6)
    assert FULL.ends == (4, 8, 12, 16, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": 0}, "paths=0"),
        ({"paths": 1, "splits": (2, 6)}, "at least two paths, or a single one"),
        ({"splits": ()}, r"the splits \[\]; expected at least one"),
        ({"splits": (2, 9)}, "from 0 to its 6"),
        ({"splits": (-1,)}, "from 0 to its 6"),
        ({"preset": "smal"}, "Did you mean 'small'"),
        ({"preset": "full"}, "use at least 32 pixels"),
    ],
)
def test_bad_options_are_refused(options, message):
    size = 16 if options.get("preset") == "full" else 32
    with pytest.raises(SpaceError, match=message):
        neas((3, size, size), 10, **options)


def test_skips_and_squeeze_excite_are_options_and_shrinking_meets_skips():
    from nasforge_strategies.neas import NEAS

    skeleton = Skeleton(8, ((8, 2, 1), (16, 2, 2)), 32, 16, (3,), (2,), skip=True, se=0.25)
    space = neas((3, 16, 16), 10, skeleton=skeleton, splits=(0, 2, 4))
    assert [len(read.options) for read in space.choices if read.name.startswith("trunk")] == [2, 2, 1, 2]
    with pytest.raises(IncompatibleError, match="single path"):
        NEAS().setup(Problem(neas((3, 16, 16), 10, skeleton=skeleton, paths=1)))
    for architecture in (space.sample(np.random.default_rng(seed)) for seed in range(5)):
        build_network(space.lower(architecture), seed=0)(torch.zeros(2, 3, 16, 16))
