"""Paths that share their first layers up to a split point, which is a decision: sugar over choices and `select`.

What is shared is one set of nodes, so the paths of an architecture agree on it whatever is drawn, mutated or crossed,
and a network computes and counts it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from nasforge.errors import SpaceError
from nasforge.space.choice import choice
from nasforge.space.node import Node, boundary, select

SPLIT: Final = "split"
"""Name of the choice of how many layers are shared."""
TRUNK: Final = "trunk"


class MakeLayer(Protocol):
    """Makes one searchable layer."""

    def __call__(self, x: Node, layer: int, where: str) -> Node:
        """Return layer number `layer` (from 1) on `x`; its choice has the name `choice_name(where, layer)`.

        Operators name weights (`weights=`) that depend on the layer and the operator, not on `where`.
        """
        ...


def split_paths(make: MakeLayer, source: Node, *, layers: int, paths: int, splits: Sequence[int]) -> list[Node]:
    """Return the ends of `paths` paths of `layers` layers each that share as many as the choice `split` says.

    The boundary `shared_boundary(l)` lies behind shared layer l, and behind `source` for l = 0. Where all layers are
    shared whatever is decided, there is no choice of a split.

    Args:
        make: makes a layer.
        source: what all paths start from.
        layers: L.
        paths: K.
        splits: numbers of layers that may be shared; L is among them.

    Raises:
        SpaceError: numbers that make no paths.
    """
    options = sorted(set(splits))
    if layers < 1 or paths < 1 or not options or options[0] < 0 or options[-1] != layers:
        raise SpaceError(
            f"paths were given {layers} layers, {paths} paths and the splits {list(splits)}; expected at least one of "
            "each, and splits from 0 to the number of layers, which is the last of them."
        )
    if paths == 1 and len(options) > 1:
        raise SpaceError(f"one path has nothing to split, and was given the splits {options}; give [{layers}] alone.")
    trunk = [boundary(shared_boundary(0), source)]
    for layer in range(1, layers + 1):
        trunk.append(boundary(shared_boundary(layer), make(trunk[-1], layer, TRUNK)))
    if len(options) == 1:
        return [trunk[-1]] * paths
    split = choice(*options, name=SPLIT, kind="depth")
    ends = []
    for where in (path_name(number) for number in range(paths)):
        x = trunk[options[0]]
        for layer in range(options[0] + 1, layers + 1):
            shared = split.map(lambda taken, layer=layer: int(layer <= taken))  # type: ignore[misc]  # lambda default
            x = select(shared, [make(x, layer, where), trunk[layer]], name=f"{where}.{layer}.source")
        ends.append(x)
    return ends


def path_name(number: int) -> str:
    """Return the name of a path by its number from 0.

    >>> path_name(0)
    'path1'
    """
    return f"path{number + 1}"


def choice_name(where: str, layer: int) -> str:
    """Return the name of the choice of a layer in the trunk or in a path.

    >>> choice_name("trunk", 3)
    'trunk.3'
    """
    return f"{where}.{layer}"


def shared_boundary(layer: int) -> str:
    """Return the name of the boundary behind a shared layer."""
    return f"shared{layer}"
