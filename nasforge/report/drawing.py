"""The drawing of a network as SVG: what `Lowered.graph()` holds, flowing downward, with shapes.

The text is static and carries its own style, so it reads the same in a page without scripts, as a file
of its own, and on paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import networkx as nx

from nasforge.report.layers import Layers, arrange, extent, fold
from nasforge.report.markup import Markup, element, escaped, joined
from nasforge.report.quantity import short_count
from nasforge.space import Lowered
from nasforge.space.node import InputOp

BOX: Final = 40.0
CIRCLE: Final = 24.0
BETWEEN: Final = 24.0
MARGIN: Final = 20.0
GUTTER: Final = 44.0
MOST_ROWS: Final = 14
MOST_WIDTH: Final = 1060.0
PALETTE: Final = 8
LONGEST: Final = 30

STYLE: Final = (
    """
.nasforge-drawing { --ink: #1b2330; --soft: #5c6676; --line: #8a94a6; --paper: #ffffff; --plain: #f2f4f7;
  --plain-line: #c3cad5; --h0: #dbe7fd; --h1: #fde8d3; --h2: #d6f1e1; --h3: #f7dcec; --h4: #e4dffb; --h5: #f8f0c4;
  --h6: #d3eff3; --h7: #f9d9d6; font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.nasforge-drawing .edge { fill: none; stroke: var(--line); stroke-width: 1.4; }
.nasforge-drawing .tip { fill: var(--line); }
.nasforge-drawing .box { fill: var(--plain); stroke: var(--plain-line); stroke-width: 1; }
.nasforge-drawing .label { fill: var(--ink); font-size: 12.5px; font-weight: 600; text-anchor: middle; }
.nasforge-drawing .shape, .nasforge-drawing .output text { fill: var(--soft); font-size: 11px; text-anchor: middle; }
.nasforge-drawing .heading { fill: var(--ink); font-size: 15px; font-weight: 600; }
.nasforge-drawing .node:hover .box { stroke: var(--ink); }
"""
    + "".join(
        f".nasforge-drawing .h{n} .box {{ fill: var(--h{n}); stroke: color-mix(in srgb, var(--h{n}) 70%, #46506a); }}\n"
        for n in range(PALETTE)
    )
    + """@media screen and (prefers-color-scheme: dark) {
.nasforge-drawing { --ink: #e8ecf3; --soft: #a3adbd; --line: #748096; --paper: #161b23; --plain: #262d38;
  --plain-line: #434d5d; --h0: #23406f; --h1: #66421c; --h2: #1f5238; --h3: #642f4e; --h4: #433777; --h5: #574d16;
  --h6: #1d5059; --h7: #692f2a; } }
"""
)


@final
@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node is: its centre, and the size of its box."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


def draw(lowered: Lowered, title: str = "") -> str:
    """Return the drawing of a network as one SVG element.

    Every operator is labelled with what it is and the shape of its output, and says its costs when pointed at.
    A long network is folded into columns where a single edge leads on.

    Args:
        lowered: the network's graph.
        title: written above it.
    """
    return _Drawing(lowered, title).svg()


@final
class _Drawing:
    """One drawing in progress."""

    def __init__(self, lowered: Lowered, title: str) -> None:
        self._lowered, self._title = lowered, title
        self._dag: nx.DiGraph = lowered.graph()
        nodes = [self._dag.nodes[index] for index in range(len(self._dag))]
        self._labels = [_label(each) for each in nodes]
        self._shapes = ["\N{MULTIPLICATION SIGN}".join(map(str, each["shape"])) for each in nodes]
        self._sizes = [_size(*each) for each in zip(self._labels, self._shapes, strict=True)]
        inputs = [
            sorted(self._dag.predecessors(index), key=lambda source: self._dag.edges[source, index]["place"])
            for index in range(len(nodes))
        ]
        self._layers: Layers = arrange(inputs, [width for width, _ in self._sizes])
        self._columns = fold(self._layers, MOST_ROWS, MOST_WIDTH, GUTTER)
        self._hues = self._coloured()
        self._head = 30.0 if title else 0.0
        self._column_of = {row: number for number, part in enumerate(self._columns) for row in part}
        self._places, self._width, self._height = self._placed()

    def _coloured(self) -> dict[str, int]:
        """Return a colour for every label of operators that hold weights."""
        nodes = self._lowered.nodes
        weighted = [at for at, node in enumerate(nodes) if node.op.params(node.input_types)]
        return {label: at % PALETTE for at, label in enumerate(dict.fromkeys(self._labels[at] for at in weighted))}

    def _placed(self) -> tuple[list[_Place], float, float]:
        """Return the place of every item of the layers, and the size of the drawing."""
        places: dict[int, _Place] = {}
        left, lowest = MARGIN, 0.0
        for part in self._columns:
            least, most = extent(self._layers, part)
            top = MARGIN + self._head
            for row in part:
                tall = max(self._item_height(index) for index in self._layers.rows[row])
                for index in self._layers.rows[row]:
                    item = self._layers.items[index]
                    height = self._item_height(index) or tall
                    places[index] = _Place(left + item.x - least, top + tall / 2, item.width, height)
                top += tall + BETWEEN
            left += most - least + GUTTER
            lowest = max(lowest, top)
        ordered = [places[index] for index in range(len(places))]
        return ordered, left - GUTTER + MARGIN, lowest + MARGIN

    def _item_height(self, index: int) -> float:
        node = self._layers.items[index].node
        return 0.0 if node is None else self._sizes[node][1]

    def svg(self) -> Markup:
        """Return the finished drawing."""
        width = max(self._width, 8.4 * len(self._title) + 2 * MARGIN if self._title else 0.0)
        edges = [self._edge(path) for path in self._layers.edges]
        nodes = [self._node(index) for index in range(len(self._labels))]
        name = self._title or "Drawing of the network"
        heading = element("text", self._title, x=MARGIN, y=28, class_="heading") if self._title else None
        return element(
            "svg",
            element("title", name),
            element("style", Markup(STYLE)),
            heading,
            element("g", *edges, class_="edges"),
            element("g", *nodes, class_="nodes"),
            *self._outputs(),
            xmlns="http://www.w3.org/2000/svg",
            class_="nasforge-drawing",
            role="img",
            aria_label=name,
            viewBox=f"0 0 {width:.0f} {self._height:.0f}",
            width=f"{width:.0f}",
            height=f"{self._height:.0f}",
        )

    def _node(self, index: int) -> Markup:
        place, label = self._places[index], self._labels[index]
        hue = self._hues.get(label)
        kind = "node" if hue is None else f"node h{hue}"
        return element(
            "g",
            element("title", self._tooltip(index)),
            *_body(place, label, self._shapes[index]),
            class_=kind,
            data_node=index,
            data_name=self._lowered.nodes[index].name,
        )

    def _tooltip(self, index: int) -> str:
        node = self._lowered.nodes[index]
        params, macs = node.op.params(node.input_types), node.op.macs(node.input_types)
        costs = f"\n{short_count(params)} params, {short_count(macs)} MACs" if params or macs else ""
        return f"{node.name}: {self._labels[index]}\noutput {self._shapes[index]}{costs}\n{node.key}"

    def _edge(self, path: Sequence[int]) -> Markup:
        places = [self._places[index] for index in path]
        columns = [self._column_of[self._layers.items[index].layer] for index in path]
        x, y = places[0].x, places[0].bottom
        route = [f"M{x:.1f},{y:.1f}"]
        for at in range(1, len(path)):
            here, last = places[at], at == len(path) - 1
            if columns[at] != columns[at - 1]:
                route.append(self._around(x, y, here.x, here.top, columns[at]))
            elif abs(here.x - x) < 0.5:
                route.append(f"L{here.x:.1f},{here.top:.1f}")
            else:
                middle = (y + here.top) / 2
                route.append(f"C{x:.1f},{middle:.1f} {here.x:.1f},{middle:.1f} {here.x:.1f},{here.top:.1f}")
            if not last:
                route.append(f"L{here.x:.1f},{here.bottom:.1f}")
            x, y = here.x, here.bottom
        end = places[-1]
        tip = f"M{end.x - 3.5:.1f},{end.top - 6.5:.1f}L{end.x:.1f},{end.top:.1f}L{end.x + 3.5:.1f},{end.top - 6.5:.1f}z"
        return joined([element("path", d=" ".join(route), class_="edge"), element("path", d=tip, class_="tip")])

    def _around(self, x: float, y: float, to_x: float, to_y: float, column: int) -> str:
        """Return the way from the foot of one column to the head of the next, through the gutter."""
        part = self._columns[column]
        left = min(
            self._places[index].x - self._places[index].width / 2 for row in part for index in self._layers.rows[row]
        )
        gutter, low, high, r = left - GUTTER / 2, y + 12, to_y - 16, 7.0
        return (
            f"L{x:.1f},{low - r:.1f} Q{x:.1f},{low:.1f} {x + r:.1f},{low:.1f} L{gutter - r:.1f},{low:.1f} "
            f"Q{gutter:.1f},{low:.1f} {gutter:.1f},{low - r:.1f} L{gutter:.1f},{high + r:.1f} "
            f"Q{gutter:.1f},{high:.1f} {gutter + r:.1f},{high:.1f} L{to_x - r:.1f},{high:.1f} "
            f"Q{to_x:.1f},{high:.1f} {to_x:.1f},{high + r:.1f} L{to_x:.1f},{to_y:.1f}"
        )

    def _outputs(self) -> list[Markup]:
        """Return the names of the outputs, below what gives them."""
        outputs: Mapping[str, Any] = self._lowered.outputs
        found: dict[int, list[str]] = {}
        for name, indices in outputs.items():
            for place, index in enumerate(indices):
                found.setdefault(index, []).append(name if len(indices) == 1 else f"{name}[{place}]")
        return [
            element(
                "g",
                element(
                    "text", ", ".join(names), x=f"{self._places[at].x:.1f}", y=f"{self._places[at].bottom + 15:.1f}"
                ),
                class_="output",
            )
            for at, names in found.items()
        ]


def _label(node: Mapping[str, Any]) -> str:
    return str(node["name"] if isinstance(node["op"], InputOp) else node["label"])


def _size(label: str, shape: str) -> tuple[float, float]:
    """Return width and height of a box: an operator whose label is one sign is a circle."""
    if len(label) == 1:
        return CIRCLE, CIRCLE
    return max(104.0, 7.3 * min(len(label), LONGEST) + 24, 6.5 * len(shape) + 24), BOX


def _body(place: _Place, label: str, shape: str) -> list[Markup]:
    x, y = place.x, place.y
    if len(label) == 1:
        return [
            element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=CIRCLE / 2, class_="box"),
            element("text", label, x=f"{x:.1f}", y=f"{y + 4.5:.1f}", class_="label"),
        ]
    short = label if len(label) <= LONGEST else label[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return [
        element(
            "rect",
            x=f"{x - place.width / 2:.1f}",
            y=f"{place.top:.1f}",
            width=f"{place.width:.1f}",
            height=f"{place.height:.1f}",
            rx=7,
            class_="box",
        ),
        element("text", short, x=f"{x:.1f}", y=f"{y - 3:.1f}", class_="label"),
        element("text", escaped(shape), x=f"{x:.1f}", y=f"{y + 12.5:.1f}", class_="shape"),
    ]


__all__ = ["draw"]
