"""Growing: weights moved into a larger network that computes the same (Net2Net, Chen, Goodfellow, Shlens 2016).

A space is declared at its largest and restricted to where the search begins; growing is giving back options, or
declaring it wider. Between supernets weights keep their places, so what both can run gives the same in both. A network
is grown layer by layer, matched by name:

- wider: new channels are made anew and their readers ignore them at first (`fresh`), or they are copies of old ones,
  among which the readers share the old weights (`copy`: also in training mode, but copies get equal gradients);
- larger kernels: zeros around the old one;
- deeper: new branches of a sum start at zero, by the normalisation or layer that ends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from nasforge.build.network import Network, module_name
from nasforge.build.supernet import Supernet
from nasforge.errors import IncompatibleError, UsageError
from nasforge.layers.conv import ChannelNorm
from nasforge.space.lower import Step

Rule = Literal["fresh", "copy"]
RULES: Final = ("fresh", "copy")


def transfer(old: Network | Supernet, new: Network | Supernet, rule: Rule = "fresh") -> None:
    """Move the weights of `old` into the larger `new`, in place, so that it computes the same.

    Args:
        old: a network, or a supernet.
        new: the larger one; what it does not have from `old` keeps its initial weights.
        rule: what new channels of a network start as, see the module.

    Raises:
        UsageError: an unknown rule, a network for a supernet.
        IncompatibleError: `new` cannot compute what `old` does; says which layer is in the way.
    """
    if rule not in RULES:
        raise UsageError(f"transfer was given rule '{rule}'; expected one of {', '.join(RULES)}.")
    if isinstance(old, Network) and isinstance(new, Network):
        _Growth(old, new, rule).run()
    elif isinstance(old, Supernet) and isinstance(new, Supernet):
        _place_all(old, new)
    else:
        raise UsageError(f"transfer was given {type(old).__name__} and {type(new).__name__}; expected two of a kind.")


@torch.no_grad()
def _place_all(old: Supernet, new: Supernet) -> None:
    target = new.state_dict(keep_vars=True)
    for name, tensor in old.state_dict().items():
        if name not in target or any(a > b for a, b in zip(tensor.shape, target[name].shape, strict=True)):
            raise IncompatibleError(f"the new supernet has no place for '{name}' of shape {tuple(tensor.shape)}.")
        place = target[name].data
        for axis, size in enumerate(tensor.shape):  # first channels, centre of a kernel
            place = place.narrow(axis, (place.shape[axis] - size) // 2 if axis >= 2 else 0, size)
        place.copy_(tensor)


@final
class _Origin(NamedTuple):
    """Where a value of the new network comes from: a value of the old, and for each channel its channel or -1."""

    value: int
    channels: Tensor
    old_channels: int
    """Channels of the old value."""


@final
class _Growth:
    """One transfer between networks: walks the new one and keeps the origin of every value that has one."""

    def __init__(self, old: Network, new: Network, rule: Rule) -> None:
        self._old, self._new, self._rule = old, new, rule
        self._places = {module_name(step): place for place, step in enumerate(old.plan.steps)}
        self._origins: dict[int, _Origin] = {}
        self._producers = new.plan.producers

    @torch.no_grad()
    def run(self) -> None:
        shapes = self._old.plan.lowered.input_shapes
        if shapes != self._new.plan.lowered.input_shapes or set(self._old.plan.outputs) != set(self._new.plan.outputs):
            raise IncompatibleError("the networks have different inputs or outputs; only what lies between can grow.")
        for name, value in self._old.plan.sources.items():
            self._origins[self._new.plan.sources[name]] = _Origin(value, torch.arange(shapes[name][0]), shapes[name][0])
        for place, step in enumerate(self._new.plan.steps):
            found = self._places.get(module_name(step))
            if step.op.commutative:
                self._sum(step, found)
            elif found is not None:
                self._layer(step, self._new.module_of(place), self._old.plan.steps[found], self._old.module_of(found))
        for name, values in self._old.plan.outputs.items():
            grown = [self._origins.get(value) for value in self._new.plan.outputs[name]]
            if [origin and origin.value for origin in grown] != list(values) or not all(map(_unchanged, grown)):
                raise IncompatibleError(f"output '{name}' of the new network is not that of the old one.")

    def _sum(self, step: Step, found: int | None) -> None:
        """Let a sum give what it gave before: branches without origin are silenced."""
        origins = {number: self._origins[number] for number in step.inputs if number in self._origins}
        kept = {origin.value for origin in origins.values()}
        wanted = set(self._old.plan.steps[found].inputs) if found is not None else kept
        if kept != wanted or (found is None and len(kept) != 1):
            if not kept:
                return  # new altogether
            raise IncompatibleError(f"the sum '{module_name(step)}' has no counterpart in the old network.")
        for number in step.inputs:
            if number not in origins:
                self._silence(number, step)
        value = self._old.plan.steps[found].output if found is not None else kept.pop()
        layouts = [origin.channels for origin in origins.values()]
        if any(not torch.equal(channels, layouts[0]) for channels in layouts):
            raise IncompatibleError(f"the branches of the sum '{module_name(step)}' grow in different ways.")
        count = next(iter(origins.values())).old_channels
        self._origins[step.output] = _Origin(value, layouts[0], count)

    def _silence(self, value: int, step: Step) -> None:
        place = self._producers.get(value)
        module = self._new.module_of(place) if place is not None else None
        if not isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.Conv2d | nn.Linear) or module.weight is None:
            raise IncompatibleError(
                f"a new branch of the sum '{module_name(step)}' ends in no normalisation or linear layer to start at "
                "zero; end it in one."
            )
        nn.init.zeros_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    def _layer(self, step: Step, module: nn.Module, before: Step, source: nn.Module) -> None:
        """Fill one layer; where an input has no origin, the layer is new in spite of its name."""
        origins = [self._origins.get(number) for number in step.inputs]
        if any(
            origin is None or origin.value != number for origin, number in zip(origins, before.inputs, strict=False)
        ):
            raise IncompatibleError(f"layer '{module_name(step)}' reads another layer than in the old network.")
        found = [origin for origin in origins if origin is not None]
        if len(found) != len(before.inputs) or step.output_type.spatial != before.output_type.spatial:
            raise IncompatibleError(f"layer '{module_name(step)}' has other inputs or sizes than in the old network.")
        fixed = ("stride", "dilation", "kind", "eps", "depthwise", "groups")
        if any(getattr(step.op, field, None) != getattr(before.op, field, None) for field in fixed):
            raise IncompatibleError(f"layer '{module_name(step)}' is another operator than in the old network.")
        grown = getattr(step.op, "kernel", 0) - getattr(before.op, "kernel", 0)
        if grown < 0 or grown % 2:
            raise IncompatibleError(f"the kernel of layer '{module_name(step)}' cannot grow by {grown}.")
        channels = self._fill(step, module, before, source, found)
        self._origins[step.output] = _Origin(before.output, channels, before.output_type.channels)

    def _fill(
        self, step: Step, module: nn.Module, before: Step, source: nn.Module, origins: Sequence[_Origin]
    ) -> Tensor:
        """Copy the weights of one layer and return the origins of its output channels."""
        read = origins[0].channels
        inner, old = _weighted(module), _weighted(source)
        if isinstance(inner, ChannelNorm) and len(read) != before.input_types[0].channels:
            raise IncompatibleError(f"layer '{module_name(step)}' normalises over all channels, so they cannot grow.")
        if isinstance(inner, nn.Linear) or (isinstance(inner, nn.Conv2d) and not getattr(step.op, "depthwise", False)):
            channels = self._widened(step.output_type.channels, before.output_type.channels, step)
            groups = getattr(step.op, "groups", 1)
            if groups > 1 and (len(read), len(channels)) != _sizes(before):
                raise IncompatibleError(f"layer '{module_name(step)}' has groups, so its channels cannot grow.")
            self._mixing(inner, old, read, channels, groups)
            return channels
        for name, tensor in inner.state_dict(keep_vars=True).items():
            given = old.state_dict()[name]
            if tensor.dim() == 0:
                tensor.copy_(given)
                continue
            kept = read >= 0
            place = _centre(tensor.data, given.shape[2:]) if tensor.dim() == 4 else tensor.data
            if tensor.dim() == 4:
                tensor.data[kept] = 0.0
            place[kept] = given[read[kept]]
        if len(origins) == 1 or type(step.op).__name__ != "Concat":
            return read
        return self._joined(before, origins)

    def _joined(self, before: Step, origins: Sequence[_Origin]) -> Tensor:
        parts, start = [], 0
        for origin, kind in zip(origins, before.input_types, strict=True):
            parts.append(torch.where(origin.channels >= 0, origin.channels + start, -1))
            start += kind.channels
        return torch.cat(parts)

    def _widened(self, count: int, before: int, step: Step) -> Tensor:
        if count < before:
            raise IncompatibleError(f"layer '{module_name(step)}' has {count} outputs, and had {before}.")
        extra = torch.arange(count - before) % before if self._rule == "copy" else torch.full((count - before,), -1)
        return torch.cat([torch.arange(before), extra])

    def _mixing(self, module: Any, source: Any, read: Tensor, made: Tensor, groups: int) -> None:
        """Fill a layer that mixes channels: columns of ignored inputs are zero, those of copies share the weight."""
        kept = torch.nonzero(made >= 0).flatten()
        weight = torch.zeros_like(module.weight[kept])
        given = source.weight[made[kept]]
        if groups == 1:
            counts = torch.bincount(read[read >= 0], minlength=given.shape[1]).to(given.dtype)
            shared = given / counts.reshape(1, -1, *[1] * (given.dim() - 2))
            known = torch.nonzero(read >= 0).flatten()
            _centre(weight, given.shape[2:])[:, known] = shared[:, read[known]]
        else:
            _centre(weight, given.shape[2:]).copy_(given)
        module.weight[kept] = weight
        if module.bias is not None:
            module.bias[kept] = source.bias[made[kept]] if source.bias is not None else 0.0


def _unchanged(origin: _Origin | None) -> bool:
    return origin is not None and torch.equal(origin.channels, torch.arange(origin.old_channels))


def _weighted(module: nn.Module) -> nn.Module:
    """Return the linear layer behind dropout, or the module itself."""
    return module[1] if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.Linear) else module


def _sizes(step: Step) -> tuple[int, int]:
    return step.input_types[0].channels, step.output_type.channels


def _centre(weight: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the centre of a kernel, of the given sizes; all of a matrix."""
    for axis, size in enumerate(sizes, start=2):
        start = (weight.shape[axis] - size) // 2
        weight = weight.narrow(axis, start, size)
    return weight
