"""Small spaces of every kind for 8 x 8 images of ten classes, so that suites need no plug-in."""

from __future__ import annotations

from nasforge.ops import Add, Conv, GlobalPool, Linear, MBConv, Zero, residual
from nasforge.space import Input, Node, SearchSpace, boundary, choice, inputs, one_of, repeat, select, subset
from nasforge.space.paths import choice_name, split_paths


def path_space(layers: int = 3, name: str = "paths") -> SearchSpace:
    """Declare a space of paths: every layer chooses an operator with weights of its own, or Zero beside a shortcut."""
    x = Conv(8, 3)(Input(3, 8, 8), name="stem")
    for number in range(layers):
        candidates = [
            MBConv(8, 3, 2)(x, name=f"b{number}.k3"),
            MBConv(8, 5, 2)(x, name=f"b{number}.k5"),
            MBConv(8, 3, 4)(x, name=f"b{number}.wide"),
            Zero()(x, name=f"b{number}.zero"),
        ]
        chosen = one_of(candidates, name=f"b{number}", labels=("k3", "k5", "wide", "zero"))
        x = residual(chosen, x, project="none", name=f"b{number}.sum")
    return _space(x, name)


def block_space(layers: int = 2, name: str = "blocks") -> SearchSpace:
    """Declare a space of paths in two blocks, each with a boundary behind it."""
    x = Conv(8, 3)(Input(3, 8, 8), name="stem")
    for block in range(2):
        for place in range(layers):
            layer = f"b{block}l{place}"
            candidates = [MBConv(8, 3, 2)(x, name=f"{layer}.k3"), MBConv(8, 5, 2)(x, name=f"{layer}.k5")]
            candidates.append(MBConv(8, 3, 3)(x, name=f"{layer}.wide"))
            x = residual(one_of(candidates, name=layer, labels=("k3", "k5", "wide")), x, name=f"{layer}.sum")
        x = boundary(f"b{block}", x)
    return _space(x, name)


def elastic_space(name: str = "elastic") -> SearchSpace:
    """Declare a space of elastic width, kernel, expansion and depth with sliced weights."""
    width = choice(4, 8, name="width")
    x = Conv(width, 3)(Input(3, 8, 8), name="stem")

    def block(source: Node, place: int) -> Node:
        kernel = choice(3, 5, name=f"b{place}.kernel")
        expansion = choice(1, 2, 3, name=f"b{place}.expansion")
        body = MBConv(width, kernel, expansion, zero_init=True)(source, name=f"b{place}")
        return residual(body, source, name=f"b{place}.sum")

    depth = choice(1, 2, 3, name="depth", kind="depth")
    return _space(repeat(block, x, depth=depth, name="end"), name)


def ensemble_space(layers: int = 3, paths: int = 2, name: str = "ensemble") -> SearchSpace:
    """Declare ensembles of paths that share one layer or more, with three operators in each layer."""
    x = Conv(8, 3)(Input(3, 8, 8), name="stem")

    def make(x: Node, layer: int, where: str) -> Node:
        name = choice_name(where, layer)
        kinds = {"k3": (3, 2), "k5": (5, 2), "wide": (3, 4)}
        candidates = [
            MBConv(8, kernel, expansion, zero_init=True)(x, name=f"{name}.{label}", weights=f"layer{layer}.{label}")
            for label, (kernel, expansion) in kinds.items()
        ]
        return residual(one_of(candidates, name=name, labels=list(kinds)), x, project="none", name=f"{name}.sum")

    splits = range(1, layers + 1) if paths > 1 else [layers]
    ends = split_paths(make, x, layers=layers, paths=paths, splits=splits)
    heads = [
        Linear(10)(GlobalPool()(end, name=f"pool{number}"), name=f"classifier{number}")
        for number, end in enumerate(ends)
    ]
    return SearchSpace({"logits": heads}, name=name)


def spaces_of_one_kind() -> dict[str, SearchSpace]:
    """Return for each kind of choice a space that decides nothing else, named after it."""
    x = Conv(4, 3)(Input(3, 8, 8), name="stem")
    branches = [Conv(4, 1)(x, name=f"branch{number}") for number in range(3)]
    taken = subset(3, 2, name="places")
    pair = [select(taken.map(lambda places, i=i: places[i]), branches, f"taken{i}") for i in range(2)]  # type: ignore[misc]  # lambda default
    (one,) = inputs(1, branches, name="from")
    kernel = choice(1, 3, name="kernel")
    deep = repeat(lambda source, place: Conv(4, 3)(source), x, depth=choice(1, 2, name="depth", kind="depth"))
    ends = {
        "attribute": Conv(4, kernel)(x, name="body"),
        "operator": one_of(branches, name="operator", labels=("a", "b", "c")),
        "input": one,
        "depth": deep,
        "subset": Add()(*pair, name="sum"),
    }
    return {kind: _space(end, f"only_{kind}") for kind, end in ends.items()}


def _space(x: Node, name: str) -> SearchSpace:
    return SearchSpace({"logits": Linear(10)(GlobalPool()(x, name="pool"), name="classifier")}, name=name)
