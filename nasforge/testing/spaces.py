"""The conformance suite of search spaces: a subclass that names a space inherits every test.

    from nasforge.testing.spaces import SpaceSuite

    class TestMySpace(SpaceSuite):
        name = "my_space"

What a space promises follows from its declaration; the suite checks that the declaration, the formulas, the
networks, the supernet and the exported file all mean the same, on random architectures.
"""

from __future__ import annotations

import functools
import json
from abc import ABC
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nasforge import registry
from nasforge.build import JointRun, Network, Supernet, build_network, export_onnx, extract, recalibrate
from nasforge.errors import IncompatibleError
from nasforge.layers import Layer
from nasforge.space import Architecture, SearchSpace
from nasforge.targets.ort_session import file_function
from nasforge.testing.enumeration import brute_force


class SpaceSuite(ABC):
    """Tests that every space must pass.

    Attributes:
        name: the space's entry point.
        input_shape: of the declaration under test; small, so that networks run in milliseconds.
        classes: number of logits.
        architectures: how many random architectures the checks without networks look at.
        networks: how many are built to count parameters and operations (no numbers are computed).
        runs: how many are run.
    """

    name: ClassVar[str]
    input_shape: ClassVar[tuple[int, int, int]] = (3, 12, 12)
    classes: ClassVar[int] = 4
    architectures: ClassVar[int] = 300
    networks: ClassVar[int] = 25
    runs: ClassVar[int] = 10

    def declare(self) -> SearchSpace:
        """Return the space; override it for a declaration with options of its own."""
        space = registry.load("spaces", self.name)(input_shape=self.input_shape, classes=self.classes)
        assert isinstance(space, SearchSpace)
        return space

    @functools.cached_property
    def space(self) -> SearchSpace:
        """The space under test."""
        return self.declare()

    def samples(self, count: int, stream: int = 0) -> list[Architecture]:
        """Return random architectures, and the smallest and largest."""
        rng = np.random.default_rng([stream, count])
        extremes = [self.space.smallest(), self.space.largest()]
        return extremes + [self.space.sample(rng) for _ in range(max(count - 2, 0))]

    # Architectures as values

    def test_a_second_declaration_has_the_same_fingerprint_and_choices(self) -> None:
        """The fingerprint is stable, so that architectures can be stored."""
        again = self.declare()
        assert again.fingerprint == self.space.fingerprint
        assert [(c.name, c.labels) for c in again.choices] == [(c.name, c.labels) for c in self.space.choices]

    def test_architectures_survive_json(self) -> None:
        """Text and back gives an equal value."""
        for architecture in self.samples(self.architectures):
            text = json.dumps(self.space.to_json(architecture))
            assert self.space.from_json(json.loads(text)) == architecture
            assert self.space.architecture(self.space.describe(architecture)) == architecture

    def test_samples_and_moves_are_valid(self) -> None:
        """Whatever sampling, mutation, crossover, repair and neighbours give belongs to the space."""
        space, rng = self.space, np.random.default_rng(1)
        rows = space.sample_batch(self.architectures, rng)
        mutated = space.mutate_batch(rows, rng)
        for row in (*rows, *mutated):
            space.validated(space.from_decisions(row))
        parents = self.samples(self.architectures)
        for first, second in zip(parents, reversed(parents), strict=True):
            space.validated(space.mutate(first, rng))
            space.validated(space.crossover(first, second, rng))
            assert space.repair(first, rng) == first
            noise = [int(rng.integers(-1, size)) for size in space.sizes]
            space.validated(space.repair(noise, rng))
        for architecture in parents[:5]:
            for neighbour in space.neighbours(architecture):
                space.validated(neighbour)
                assert neighbour != architecture

    def test_mutation_changes_the_architecture(self) -> None:
        """A mutation is never the architecture itself, in a space of more than one."""
        rng = np.random.default_rng(2)
        if self.space.size > 1:
            for architecture in self.samples(self.architectures):
                assert self.space.mutate(architecture, rng) != architecture

    def test_the_same_generator_gives_the_same_samples(self) -> None:
        """Sampling depends on the generator alone."""
        first, second = (self.space.sample_batch(50, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first, second)

    def test_size_counts_exactly_the_architectures(self) -> None:
        """In small random restrictions the size equals what walking the graph finds."""
        for seed in range(3):
            small = self._small_restriction(np.random.default_rng(seed))
            found = brute_force(small)
            assert small.size == len(found)
            assert {a.decisions for a in small.enumerate()} == found

    def test_a_restriction_keeps_fingerprint_choices_and_architectures(self) -> None:
        """Architectures of a restricted space are the parent's, and stay within it under all moves."""
        rng = np.random.default_rng(4)
        small = self._small_restriction(rng)
        assert small.fingerprint == self.space.fingerprint
        assert small.choices == self.space.choices
        assert small.size <= self.space.size
        for architecture in (small.sample(rng) for _ in range(50)):
            assert small.contains(architecture)
            assert self.space.contains(architecture)
            assert small.contains(small.mutate(architecture, rng))
            assert small.lower(architecture).network_id == self.space.network_id(architecture)

    def _small_restriction(self, rng: np.random.Generator, at_most: int = 300) -> SearchSpace:
        """Return a sub-space small enough to walk: around one architecture, a few random choices stay open."""
        base, total = self.space.describe(self.space.sample(rng)), 1
        kept: dict[str, list[str]] = {}
        for index in rng.permutation(len(self.space.choices)):
            choice = self.space.choices[index]
            own = base.get(str(choice.name), choice.labels[int(rng.integers(len(choice.labels)))])
            others = [label for label in choice.labels if label != own]
            take = int(rng.integers(0, len(others) + 1))
            if total * (take + 1) > at_most:
                take = 0
            total *= take + 1
            kept[str(choice.name)] = [own, *(others[i] for i in rng.permutation(len(others))[:take])]
        return self.space.restrict(kept)

    # Formulas

    def test_cost_tables_equal_the_lowered_graph(self) -> None:
        """Params, MACs, bytes and BitOps by table, one by one and in batches, equal sums over the lowered nodes."""
        sample = self.samples(self.architectures)
        rows = self.space.integers(sample)
        for metric in ("params", "macs", "activation_bytes", "bitops"):
            cost = self.space.cost(metric)
            counted = [self.space.lower(architecture).total(metric) for architecture in sample]
            assert [cost(architecture) for architecture in sample] == counted
            assert cost.batch(rows).tolist() == counted

    def test_the_lowered_graph_is_pruned_and_in_order(self) -> None:
        """Every node comes after its inputs, reaches an output, and computes something."""
        for architecture in self.samples(self.architectures):
            lowered = self.space.lower(architecture)
            needed = {index for heads in lowered.outputs.values() for index in heads}
            for index in reversed(range(len(lowered.nodes))):
                node = lowered.nodes[index]
                assert all(source < index for source in node.inputs)
                assert node.input_types == tuple(lowered.nodes[source].output_type for source in node.inputs)
                assert node.output_type.shape == node.op.shape(node.input_types).shape
                assert not node.op.aliases
                if index in needed:
                    needed.update(node.inputs)
                else:
                    assert not node.inputs, f"node {node.name} reaches no output"

    def test_formula_params_equal_counted_params(self) -> None:
        """The formula counts the parameters of the network built alone, exactly."""
        for architecture in self.samples(self.networks):
            assert count(self._skeleton(architecture)) == self.space.params(architecture)

    def test_formula_macs_equal_counted_operations(self) -> None:
        """The formula is half of what torch's counter sees (attention by the math backend)."""
        for architecture in self.samples(self.networks):
            network = self._skeleton(architecture).eval()
            shapes = self.space.input_shapes
            named = {name: torch.empty(1, *shape, device="meta") for name, shape in shapes.items()}
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
                network(named)
            assert counter.get_total_flops() == 2 * self.space.macs(architecture)

    def _skeleton(self, architecture: Architecture) -> Network:
        """Return the network without numbers (on the meta device)."""
        with torch.device("meta"):
            return Network(self.space.lower(architecture))

    def test_equal_network_ids_mean_equal_networks(self) -> None:
        """Architectures of one network_id have the same blocks, parameters and operations."""
        seen: dict[str, tuple[Any, ...]] = {}
        found = self.samples(self.architectures)
        near = [
            other
            for architecture in found[: 1 + self.architectures // 100]
            for other in self.space.neighbours(architecture)
        ]
        for architecture in found + near:
            lowered = self.space.lower(architecture)
            kind = tuple(sorted(step.op.key(step.input_types) for step in lowered.primitives if _computes(step.op)))
            value = (lowered.total("params"), lowered.total("macs"), kind)
            assert seen.setdefault(lowered.network_id, value) == value

    # Networks

    def test_every_network_gives_logits_of_the_declared_shape(self) -> None:
        """Networks built alone run in both modes and give finite numbers; the seed decides their weights."""
        x = self._batch(torch.float32)
        for architecture in self.samples(self.runs, 5):
            network = build_network(self.space.lower(architecture), seed=1)
            state = network.state_dict()
            for key, value in build_network(self.space.lower(architecture), seed=1).state_dict().items():
                assert torch.equal(state[key], value)
            for output in flat(network(x)):
                assert torch.isfinite(output).all()

    def test_extraction_equals_the_supernet_in_float32(self) -> None:
        """The extracted network gives the supernet's outputs within 1e-5, in both modes."""
        self._check_extraction(torch.float32, 1e-5)

    def test_extraction_equals_the_supernet_in_float64(self) -> None:
        """The extracted network gives the supernet's outputs within 1e-10, in both modes."""
        self._check_extraction(torch.float64, 1e-10)

    def _check_extraction(self, dtype: torch.dtype, tolerance: float) -> None:
        supernet = scrambled(Supernet(self.space).to(dtype))
        x = self._batch(dtype)
        for architecture in self.samples(self.runs, 6):
            for training in (False, True):
                supernet.train(training)
                network = extract(supernet, architecture)
                assert network.training == training
                with torch.random.fork_rng(devices=[]), torch.no_grad():
                    torch.manual_seed(0)
                    found = network(x)
                    torch.manual_seed(0)
                    expected = supernet(x, architecture)
                assert_close(found, expected, tolerance)
            assert count(network) == self.space.params(architecture)

    def test_several_at_once_give_what_each_alone_gives(self) -> None:
        """Calibrated and run together, architectures give within 1e-8 what their recalibrated networks give."""
        supernet = scrambled(Supernet(self.space).double())
        architectures = self.samples(self.runs, 9)
        batches = [self._batch(torch.float64), self._batch(torch.float64)]
        try:
            run = JointRun(supernet, architectures)
        except IncompatibleError:  # a layer with statistics of its own: such networks are evaluated one by one
            return
        for batch in batches:
            run.calibrate(batch)
        found = dict(run.outputs(batches[0]))
        assert sorted(found) == list(range(len(architectures)))
        for place, architecture in enumerate(architectures):
            network = extract(supernet, architecture).eval()
            recalibrate(network, batches)
            with torch.no_grad():
                assert_close(found[place], network(batches[0]), 1e-8)

    def test_extracted_networks_are_plain_modules_with_their_own_weights(self) -> None:
        """No elastic layer is left, and no tensor shares memory with the supernet."""
        supernet = Supernet(self.space)
        held = {tensor.untyped_storage().data_ptr() for tensor in supernet.state_dict().values()}
        for architecture in self.samples(self.runs, 7):
            network = extract(supernet, architecture)
            assert not [module for module in network.modules() if isinstance(module, Layer | Supernet)]
            assert held.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values())

    def test_a_restricted_space_runs_on_the_same_weights(self) -> None:
        """An architecture of a sub-space runs on the supernet of the whole."""
        supernet, x = Supernet(self.space).eval(), self._batch(torch.float32)
        small = self._small_restriction(np.random.default_rng(8))
        architecture = small.sample(np.random.default_rng(9))
        state = supernet.state_dict()
        other = Supernet(small).eval()
        other.load_state_dict(state)
        with torch.no_grad():
            assert_close(other(x, architecture), supernet(x, architecture), 0.0)

    def test_onnx_runtime_agrees(self, tmp_path: Path) -> None:
        """The exported file gives the network's outputs within 1e-4 in ONNX Runtime."""
        if len(self.space.input_shapes) != 1:
            return
        (shape,) = self.space.input_shapes.values()
        supernet = scrambled(Supernet(self.space)).eval()
        for number, architecture in enumerate(self.samples(3, 10)):
            network = extract(supernet, architecture).eval()
            path = tmp_path / f"{number}.onnx"
            export_onnx(network, shape, path, {})
            x = next(iter(self._batch(torch.float32).values()))
            given = file_function(path)(x.numpy())
            with torch.no_grad():
                assert_close([torch.from_numpy(value) for value in given], network(x), 1e-4)

    def _batch(self, dtype: torch.dtype) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(11)
        shapes = self.space.input_shapes
        return {name: torch.randn(2, *shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def _computes(op: Any) -> bool:
    """Say whether an operator's key matters: sums are flattened by network_id, so they may be split differently."""
    return not op.commutative


def count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def flat(outputs: Any) -> list[Tensor]:
    """Return the tensors of a network's output, whatever its structure."""
    if isinstance(outputs, Tensor):
        return [outputs]
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [tensor for value in values for tensor in flat(value)]


def assert_close(found: Any, expected: Any, tolerance: float) -> None:
    """Compare outputs, relative to their largest value; NaN and infinity never pass."""
    pairs = list(zip(flat(found), flat(expected), strict=True))
    assert pairs, "no outputs to compare"
    for one, other in pairs:
        assert one.shape == other.shape
        assert torch.isfinite(one).all(), "the outputs are not finite"
        assert torch.isfinite(other).all(), "the expected outputs are not finite"
        error = float((one - other).abs().max())
        assert error <= tolerance * max(1.0, float(other.abs().max())), f"outputs differ by {error}"


def scrambled(module: nn.Module, seed: int = 0) -> Any:
    """Move every parameter and statistic off its initial value, so that no zero or one hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.add_(noise.to(parameter.dtype))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module


__all__ = ["SpaceSuite", "assert_close", "count", "flat", "scrambled"]
