"""Running several architectures in one batch by masks: the graph once, for all of them.

A tensor is as wide as the widest architecture of the batch, with zeros where an image lacks channels; kernels are
cropped, candidates, depths and inputs are gated by shares. Each image gets what it would get by running its
architecture alone: in evaluation and in training, where normalisations treat the images of one architecture as a batch
of their own (only what dropout draws differs). Masks cannot express different sizes of the image, strides, groups.

With shares that are given instead of decided, gradients flow to them: a channel's share acts where channels are mixed,
a kernel's and a candidate's on what they give, each once. So everything of which a share may rise is run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from nasforge.build.passes import macs_of
from nasforge.build.plan import gather_heads
from nasforge.build.variant_parts import Expanded, Variant, VariantPart, common_order, total_share
from nasforge.build.variants import layer_key
from nasforge.errors import IncompatibleError, UsageError, unknown_name_sentence
from nasforge.layers.base import Layer
from nasforge.layers.blend import Blend, along, widened
from nasforge.space.analysis import field_table, select_index
from nasforge.space.graph import GraphNode
from nasforge.space.node import InputOp, Operator, Types
from nasforge.space.tensor import TensorType

if TYPE_CHECKING:
    from nasforge.build.supernet import Supernet
    from nasforge.space import Architecture


@final
class Masked(NamedTuple):
    """A value: the tensor (batch, width, ...) and the share of each channel place, (batch, width)."""

    x: Tensor
    share: Tensor


@final
class MaskedRun:
    """One masked pass; see `Supernet.run_masked` for the arguments."""

    def __init__(
        self,
        supernet: Supernet,
        architectures: Sequence[Architecture],
        x: Tensor | Mapping[str, Tensor],
        shares: Mapping[str, Tensor],
    ) -> None:
        self._supernet, self._space = supernet, supernet.space
        self._inputs = _named(x, self._space.input_shapes)
        first = next(iter(self._inputs.values()))
        self._like, self._batch = first.new_zeros(()), len(first)
        if not architectures or self._batch % len(architectures):
            raise UsageError(
                f"a batch of {self._batch} images was given {len(architectures)} architectures; "
                "give one per image, or one per group of equally many."
            )
        distinct = list(dict.fromkeys(architectures))
        number = {architecture: place for place, architecture in enumerate(distinct)}
        each = self._batch // len(architectures)
        self._of_image = torch.tensor([number[a] for a in architectures], device=first.device).repeat_interleave(each)
        self._given = self._checked(shares)
        mixed = {index: self._space.allowed[index] for index in self._given}
        lowered = [self._space.lower(self._space.validated(a), mixed or None) for a in distinct]
        self._lowered = lowered
        self._live = [{(graph.nodes[step.node].name, step.part) for step in graph.steps} for graph in lowered]
        self._rows = np.maximum(np.asarray([a.decisions for a in distinct]).reshape(len(distinct), -1), 0)
        self._shares: dict[int, Tensor] = {}

    def _checked(self, shares: Mapping[str, Tensor]) -> dict[int, Tensor]:
        names = [str(read.name) for read in self._space.choices]
        found = {}
        for name, share in shares.items():
            if name not in names:
                raise UsageError(unknown_name_sentence("choice", name, names))
            index = names.index(name)
            options = self._space.sizes[index]
            if tuple(share.shape) not in ((options,), (self._batch, options)):
                raise UsageError(
                    f"choice '{name}' was given shares of shape {tuple(share.shape)}; "
                    f"expected ({options},) or ({self._batch}, {options})."
                )
            for node in self._space.analysis.graph.nodes:
                if node.is_select and index in node.choices and len(node.choices) > 1:
                    raise IncompatibleError(
                        f"choice '{name}' cannot be given by shares: node '{node.name}' reads it together with others."
                    )
            found[index] = share.to(self._like.dtype).expand(self._batch, options)
        return found

    def image_macs(self) -> int:
        """Return the multiply-accumulates that the architectures of all images have alone."""
        macs = [macs_of(graph.steps) for graph in self._lowered]
        return sum(macs[place] * count for place, count in enumerate(torch.bincount(self._of_image).tolist()))

    def run(self) -> Any:
        """Run the graph and return the outputs as `Supernet.forward` does."""
        graph = self._space.analysis.graph
        values: list[Masked | None] = []
        for node in graph.nodes:
            values.append(self._node(node, values))
        training = self._supernet.training
        found = {
            name: gather_heads([self._output(values[i], i) for i in nodes], training)
            for name, nodes in graph.outputs.items()
        }
        return next(iter(found.values())) if len(found) == 1 else found

    def _output(self, value: Masked | None, index: int) -> Tensor:
        kinds = {kind.shape for kind in self._kinds(index)}
        if len(kinds) > 1:
            raise IncompatibleError(f"an output has the shapes {sorted(kinds)} in one batch; run them one by one.")
        if value is None:
            return self._like.new_zeros((self._batch, *kinds.pop()))
        return self._scaled(value)[:, torch.cat([torch.arange(o, o + n) for o, n in self._kinds(index)[0].layout])]

    def _kinds(self, index: int) -> list[TensorType]:
        table = self._space.analysis.types[index]
        cells = {int(table.at(row)) for row in self._rows.tolist()}
        return [
            kind for kind in (self._space.analysis.universe[cell] for cell in cells) if isinstance(kind, TensorType)
        ]

    # Nodes

    def _node(self, node: GraphNode, values: Sequence[Masked | None]) -> Masked | None:
        """Return the value of a node, None where it is zero (or not asked for) in every image."""
        sources = [values[index] for index in node.inputs]
        if isinstance(node.op, InputOp):
            x = self._inputs[node.op.input_name]
            return Masked(x, x.new_ones(x.shape[:2]))
        if node.is_select:
            return self._select(node, sources)
        if node.op.aliases:
            return sources[0]
        if node.op.is_zero:
            return None
        return self._joined(node.name, list(self._results(node, sources)))

    def _results(self, node: GraphNode, sources: Sequence[Masked | None]) -> Iterator[tuple[Tensor, Masked | None]]:
        """Yield (share, value) for every set of weights that the node has."""
        owned = self._owned(node)
        by_options: dict[tuple[int, ...], list[Variant]] = {}
        for options, variant in self._variants(node):
            by_options.setdefault(options, []).append(variant)
        for options, variants in by_options.items():
            made = [self._space.choices[read] for read in owned]
            suffix = "".join(f"@{c.name}={c.labels[o]}" for c, o in zip(made, options, strict=True))
            given = [self._given[read][:, o] for read, o in zip(owned, options, strict=True) if read in self._given]
            for share, value in self._own(node, suffix, variants, sources):
                yield math.prod(given, start=share), value

    def _select(self, node: GraphNode, sources: Sequence[Masked | None]) -> Masked | None:
        table = select_index(node, self._space.sizes)
        shares: dict[int, Tensor] = {}
        for options, share in self._cells(table.axes, range(len(self._rows))):
            place = int(table.values[tuple(options[axis] for axis in table.axes)])
            shares[place] = shares[place] + share if place in shares else share
        return self._joined(node.name, [(share, sources[place]) for place, share in shares.items()])

    def _joined(self, name: str, results: Sequence[tuple[Tensor, Masked | None]]) -> Masked | None:
        """Return the sum of values weighted by their shares in each image."""
        found = [(share, value) for share, value in results if value is not None]
        if len(results) == 1 or not found:
            return found[0][1] if found else None
        self._check_sizes(name, {tuple(value.x.shape[2:]) for _, value in found})
        width = max(value.x.shape[1] for _, value in found)
        x = torch.stack([along(share, v.x) * widened(self._scaled(v), width) for share, v in found]).sum(dim=0)
        share = torch.stack([share[:, None] * widened(v.share, width) for share, v in found]).sum(dim=0)
        return Masked(x, share.detach().ne(0).to(x.dtype))

    def _scaled(self, value: Masked) -> Tensor:
        return value.x * along(value.share, value.x) if self._given else value.x

    def _cells(
        self, axes: Sequence[int], rows: Sequence[int], besides: Sequence[int] = ()
    ) -> Iterator[tuple[dict[int, int], Tensor]]:
        """Yield (options by choice, share in each image) for the combinations that some architecture of `rows` has.

        Given shares of the choices `besides` are left out of the product.
        """
        hard = [axis for axis in axes if axis not in self._given]
        soft = [axis for axis in axes if axis in self._given]
        for chosen in np.unique(self._rows[np.ix_(list(rows), hard)], axis=0).tolist() if len(rows) else ():
            matches = (self._rows[:, hard] == np.asarray(chosen, dtype=int)).all(axis=1)
            own = torch.as_tensor(matches, device=self._like.device)[self._of_image].to(self._like.dtype)
            for options in itertools.product(*(self._space.allowed[axis] for axis in soft)):
                share = own
                for axis, option in zip(soft, options, strict=True):
                    if axis not in besides:
                        share = share * self._given[axis][:, option]
                yield dict(zip((*hard, *soft), (*chosen, *options), strict=True)), share

    def _variants(self, node: GraphNode) -> Iterator[tuple[tuple[int, ...], Variant]]:
        """Yield (options with weights of their own, variant) as the architectures that run the node have them."""
        analysis, sizes = self._space.analysis, self._space.sizes
        owned = self._owned(node)
        fields = {spec.name: field_table(spec, sizes) for spec in node.fields}
        kinds = [analysis.types[index] for index in (*node.inputs, node.index)]
        axes = {axis for table in (*kinds, *(table for table, _ in fields.values())) for axis in table.axes}
        merged: dict[tuple[tuple[int, ...], Operator, Types], Tensor] = {}
        for options, share in self._cells(sorted(axes.union(owned)), self._running(node), owned):
            at = [options.get(axis, 0) for axis in range(len(sizes))]
            types = [kind for table in kinds if isinstance(kind := analysis.universe[int(table.at(at))], TensorType)]
            if len(types) < len(kinds):
                continue  # a combination that does not occur
            if any(kind.open for kind in types):
                raise IncompatibleError(f"the channels at node '{node.name}' depend on too many choices to be masked.")
            values = {name: known[int(table.at(at))] for name, (table, known) in fields.items()}
            own = tuple(at[read] for read in owned)
            key = own, node.op.at(**values) if values else node.op, tuple(types[:-1])
            merged[key] = merged[key] + share if key in merged else share
        for (own, op, inputs), share in merged.items():
            yield own, Variant(op, inputs, share)

    def _owned(self, node: GraphNode) -> list[int]:
        return [read for read in node.choices if self._space.choices[read].share == "none"]

    def _running(self, node: GraphNode) -> list[int]:
        """Return the architectures that run a node; all, where it may pass something on without running."""
        if type(node.op).prune is not Operator.prune:
            return list(range(len(self._live)))
        return [number for number, live in enumerate(self._live) if any(name == node.name for name, _ in live)]

    # Parts of a node

    def _own(
        self, node: GraphNode, suffix: str, variants: Sequence[Variant], sources: Sequence[Masked | None]
    ) -> Iterator[tuple[Tensor, Masked | None]]:
        """Yield (share, value) of each result of variants that have the same weights."""
        expanded = [Expanded(variant) for variant in variants]
        values: dict[str | int, Masked | None] = {-1 - place: value for place, value in enumerate(sources)}
        for name in common_order(node.name, expanded):
            by_inputs: dict[tuple[str | int, ...], list[VariantPart]] = {}
            for entry in expanded:
                if name in entry.parts:
                    by_inputs.setdefault(entry.parts[name].inputs, []).append(entry.parts[name])
            made = [
                (total_share(parts), self._part(node, suffix, parts, [values[read] for read in inputs]))
                for inputs, parts in by_inputs.items()
            ]
            values[name] = self._joined(node.name, made)
        shares: dict[str | int, Tensor] = {}
        for entry in expanded:
            shares[entry.result] = shares[entry.result] + entry.share if entry.result in shares else entry.share
        yield from ((share, values[result]) for result, share in shares.items())

    def _part(
        self, node: GraphNode, suffix: str, parts: Sequence[VariantPart], inputs: Sequence[Masked | None]
    ) -> Masked | None:
        """Run one primitive layer in all its variants."""
        first = parts[0]
        key = layer_key((node.weights or node.name) + suffix, first.name)
        layer = self._supernet.layer(key, first.op, first.types)
        assert isinstance(layer, Layer)
        shares = torch.stack([part.share for part in parts], dim=1)
        if not layer.linear:
            live = [(node.name, first.name) in found for found in self._live]
            shares = shares * torch.tensor(live, device=shares.device)[self._of_image][:, None]
        elif all(value is None for value in inputs):
            return None
        present = shares.detach().ne(0).any(dim=1)
        if not bool(present.any()) and not shares.requires_grad:
            return None
        self._check_sizes(key, {part.result.spatial for part in parts})
        width = max(part.result.capacity for part in parts)
        share = shares @ torch.stack([_places(part.result, width, self._like) for part in parts])
        given = [self._fitted(v, [part.types[i] for part in parts], shares) for i, v in enumerate(inputs)]
        blend = Blend(
            key,
            tuple(part.op for part in parts),
            tuple(part.types for part in parts),
            shares,
            tuple(value.share for value in given),
            share,
            self._groups(present),
            bool(self._given),
        )
        y = widened(layer.masked(blend, *(value.x for value in given)), width)
        active = share.detach() != 0
        return Masked(y if bool(active.all()) else y * along(active, y), share)

    def _groups(self, present: Tensor) -> tuple[Tensor, ...]:
        found = (torch.nonzero(present & (self._of_image == number)).flatten() for number in range(len(self._live)))
        return tuple(images for images in found if len(images))

    def _fitted(self, value: Masked | None, types: Sequence[TensorType], shares: Tensor) -> Masked:
        """Return an input as wide as the variants of a layer need it; zeros where it was cut off."""
        width = max(kind.capacity for kind in types)
        if value is None:
            zeros = self._like.new_zeros((self._batch, width, *types[0].spatial))
            return Masked(zeros, shares @ torch.stack([_places(kind, width, self._like) for kind in types]))
        if value.x.shape[1] >= width:  # what is beyond belongs to images that do not run this layer
            return Masked(value.x[:, :width], value.share[:, :width])
        return Masked(widened(value.x, width), widened(value.share, width))

    def _check_sizes(self, name: str, sizes: set[tuple[int, ...]]) -> None:
        if len(sizes) > 1:
            texts = " and ".join("x".join(map(str, size)) for size in sorted(sizes))
            raise IncompatibleError(
                f"'{name}' gives {texts} pixels in one batch, which no mask can express; "
                "run these architectures one by one, or fix the choices of resolution and stride."
            )


def _places(kind: TensorType, width: int, like: Tensor) -> Tensor:
    """Return 1 at the channel places in use, else 0, shape (width,)."""
    places = like.new_zeros(width)
    for offset, length in kind.layout:
        places[offset : offset + length] = 1.0
    return places


def _named(x: Tensor | Mapping[str, Tensor], shapes: Mapping[str, Any]) -> Mapping[str, Tensor]:
    named = {next(iter(shapes)): x} if isinstance(x, Tensor) and len(shapes) == 1 else x
    if isinstance(named, Tensor) or set(named) != set(shapes):
        given = "one tensor" if isinstance(named, Tensor) else sorted(named)
        raise UsageError(f"the network was given {given}; expected the inputs {sorted(shapes)}.")
    return named
