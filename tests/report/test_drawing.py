"""The drawing: valid SVG with every node and edge of the graph, labelled, no box on another, long ones folded."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.cli.app import main
from nasforge.ops import Add, Conv, GlobalPool, Linear
from nasforge.report import draw
from nasforge.report.drawing import MARGIN, MOST_ROWS, MOST_WIDTH
from nasforge.report.layers import GAP, arrange, extent, fold
from nasforge.rng import generator
from nasforge.run.options import make_space
from nasforge.space import Input, Lowered, Node, SearchSpace, choice

SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw_value: st.DrawFn) -> list[list[int]]:
    """Return for each node in topological order the nodes it reads."""
    count = draw_value(st.integers(1, 24))
    return [
        draw_value(st.lists(st.integers(0, node - 1), unique=True, max_size=4)) if node else [] for node in range(count)
    ]


def chain(length: int) -> Lowered:
    """Return a residual network of about `length` operators."""
    x: Node = Conv(8, choice(3, 5, name="kernel"))(Input(3, 16, 16))
    for number in range(length // 2):
        x = Add()(Conv(8, 3)(x, name=f"block{number}"), x)
    space = SearchSpace({"logits": Linear(10)(GlobalPool()(x))}, name="chain")
    return space.lower(space.smallest("macs"))


def parsed(lowered: Lowered, title: str = "") -> tuple[ElementTree.Element, dict[int, ElementTree.Element]]:
    root = ElementTree.fromstring(draw(lowered, title))
    groups = [each for each in root.iter(f"{SVG}g") if "node" in each.get("class", "").split()]
    return root, {int(each.attrib["data-node"]): each for each in groups}


def box(group: ElementTree.Element) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of a node."""
    rect, circle = group.find(f"{SVG}rect"), group.find(f"{SVG}circle")
    if rect is not None:
        left, top, width, height = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        return left, top, left + width, top + height
    assert circle is not None
    x, y, r = (float(circle.attrib[key]) for key in ("cx", "cy", "r"))
    return x - r, y - r, x + r, y + r


def check(lowered: Lowered) -> None:
    """Every node and edge is there, named and labelled; no box lies on another or outside; edges touch their nodes."""
    root, nodes = parsed(lowered)
    dag = lowered.graph()
    assert sorted(nodes) == list(range(len(lowered.nodes)))
    for index, group in nodes.items():
        assert group.attrib["data-name"] == lowered.nodes[index].name
        texts = [each.text for each in group.iter(f"{SVG}text")]
        label = dag.nodes[index]["label"]
        assert texts[0] == (lowered.nodes[index].name if dag.in_degree(index) == 0 else label)
        if len(label) > 1:
            assert texts[1] == "\N{MULTIPLICATION SIGN}".join(map(str, dag.nodes[index]["shape"]))
    boxes = [box(nodes[index]) for index in range(len(nodes))]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for at, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other in boxes[at + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
    ends = [ends_of(each.attrib["d"]) for each in root.iter(f"{SVG}path") if each.get("class") == "edge"]
    wanted = [(*foot(boxes[source]), *head(boxes[target])) for source, target in dag.edges]
    assert len(ends) == len(wanted)
    for end in wanted:
        assert any(end == pytest.approx(found, abs=0.2) for found in ends)


def ends_of(path: str) -> tuple[float, ...]:
    numbers = [float(each) for each in re.findall(r"-?\d+\.?\d*", path)]
    return (*numbers[:2], *numbers[-2:])


def foot(place: tuple[float, float, float, float]) -> tuple[float, float]:
    return (place[0] + place[2]) / 2, place[3]


def head(place: tuple[float, float, float, float]) -> tuple[float, float]:
    return (place[0] + place[2]) / 2, place[1]


def test_a_chain_with_shortcuts_is_drawn_whole() -> None:
    check(chain(12))


def test_a_long_chain_is_folded_to_fit_and_stays_legible() -> None:
    lowered = chain(60)
    check(lowered)
    root, nodes = parsed(lowered)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert width <= MOST_WIDTH + 2 * MARGIN
    assert height < 64 * (MOST_ROWS + 6)
    assert len({round(box(each)[0] + box(each)[2]) for each in nodes.values()}) >= 3
    sizes = re.findall(r"font-size: ([\d.]+)px", draw(lowered))
    assert min(map(float, sizes)) >= 11


@pytest.mark.plugins
@pytest.mark.parametrize("name", ["mbconv", "mbconv_elastic", "nb201"])
@pytest.mark.parametrize("seed", range(4))
def test_every_network_of_the_spaces_is_drawn_whole(name: str, seed: int) -> None:
    space = make_space(name, {}, (3, 32, 32), 10)
    check(space.lower(space.sample(generator(seed, "drawing"))))


def test_the_spine_of_a_network_stands_straight() -> None:
    _, nodes = parsed(chain(10))
    centres = [(box(each)[0] + box(each)[2]) / 2 for each in nodes.values()]
    assert max(centres) - min(centres) < 0.2


def test_outputs_are_named() -> None:
    root, _ = parsed(chain(4))
    (output,) = (each for each in root.iter(f"{SVG}g") if each.get("class") == "output")
    assert [each.text for each in output.iter(f"{SVG}text")] == ["logits"]


@pytest.mark.parametrize("title", ["", "a <b> & \"c\"</svg><script>alert('d')</script>", "\x00\x1b\ud800 odd"])
def test_titles_are_text(title: str) -> None:
    root, nodes = parsed(chain(4), title)
    plain, _ = parsed(chain(4), "plain" if title else "")
    assert [each.tag for each in root.iter()] == [each.tag for each in plain.iter()]
    assert len(nodes) == len(chain(4).nodes)
    if title.isprintable() and title:
        assert root.findtext(f"{SVG}text") == title


def test_the_drawing_refers_to_nothing_outside() -> None:
    text = draw(chain(4))
    assert "url(" not in text
    assert re.findall(r"https?://[^\s\"<]*", text) == ["http://www.w3.org/2000/svg"]


@given(graphs())
def test_layers_flow_downward_and_keep_items_apart(inputs: list[list[int]]) -> None:
    layers = arrange(inputs, [50.0 + 7 * (node % 5) for node in range(len(inputs))])
    for node, sources in enumerate(inputs):
        assert all(layers.items[source].layer < layers.items[node].layer for source in sources)
    for number, row in enumerate(layers.rows):
        assert all(layers.items[index].layer == number for index in row)
        placed = [layers.items[index] for index in row]
        for left, right in itertools.pairwise(placed):
            assert right.x - left.x >= (left.width + right.width) / 2 + GAP - 0.05
    assert sorted((path[0], path[-1]) for path in layers.edges) == sorted(
        (source, node) for node, sources in enumerate(inputs) for source in sources
    )
    for path in layers.edges:
        assert [layers.items[index].layer for index in path] == list(
            range(layers.items[path[0]].layer, layers.items[path[-1]].layer + 1)
        )


@given(graphs(), st.integers(1, 10), st.floats(100, 1200))
def test_columns_hold_every_layer_once_in_order_and_break_only_below_a_single_source(
    inputs: list[list[int]], most_rows: int, most_width: float
) -> None:
    layers = arrange(inputs, [60.0] * len(inputs))
    columns = fold(layers, most_rows, most_width, 40.0)
    assert [row for part in columns for row in part] == list(range(len(layers.rows)))
    for part in columns[1:]:
        above = [layers.items[index] for index in layers.rows[part.start - 1]]
        assert sum(bool(each.after) for each in above) == 1
        assert all(each.node is not None for each in above)
    if len(columns) > 1:
        spans = [extent(layers, part) for part in columns]
        assert sum(right - left for left, right in spans) + 40.0 * (len(columns) - 1) <= most_width


@pytest.mark.plugins
def test_show_writes_the_drawing_of_a_named_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "proxyless-mobile", "--svg", str(tmp_path / "net.svg")]) == 0
    root = ElementTree.parse(tmp_path / "net.svg").getroot()
    assert root.findtext(f"{SVG}title") == "proxyless-mobile"
    assert "params" in capsys.readouterr().out


@pytest.mark.plugins
def test_a_space_has_no_drawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mbconv", "--svg", str(tmp_path / "net.svg")]) == 2
    assert "--svg" in capsys.readouterr().err
    assert not (tmp_path / "net.svg").exists()


def test_a_run_of_a_space_made_in_python_has_its_drawing(
    make_run: Callable[..., tuple[Path, SearchSpace]], capsys: pytest.CaptureFixture[str]
) -> None:
    from nasforge.config.start import write_report

    folder, space = make_run()
    found: list[Any] = []
    for given_space in (space, None):
        write_report(folder, given_space)
        text = (folder / "report.html").read_text(encoding="utf-8")
        found.append((text.count('class="nasforge-drawing"'), "is of a space made in Python" in text))
    assert found == [(1, False), (0, True)]
