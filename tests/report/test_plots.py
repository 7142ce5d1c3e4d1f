"""The data of the plots: valid for plotly, never thinning what matters, sensible with few evaluations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasforge.goals import Objective
from nasforge.report import results
from nasforge.report.contents import Contents, read_contents
from nasforge.report.journal import Told
from nasforge.report.latency_plot import held_out_figure
from nasforge.report.page import page
from nasforge.report.plots import MANY, curve_figure, figures, pareto_figure
from nasforge.run.settings import Limits
from nasforge.space import SearchSpace

MakeRun = Callable[..., tuple[Path, SearchSpace]]


def resolved(value: Any) -> Any:
    """Return a figure with the style sheet's colours filled in, as the page does."""
    if isinstance(value, dict):
        return {key: resolved(each) for key, each in value.items()}
    if isinstance(value, list):
        return [resolved(each) for each in value]
    return "#123456" if isinstance(value, str) and value.startswith("--") else value


def colours(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(colours, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(colours, value)) if value else set()
    return {value} if isinstance(value, str) and value.startswith("--") else set()


def contents_of(values: list[float], direction: Any = "maximize", limit: float | None = None) -> Contents:
    told = tuple(
        Told(number, {"accuracy_valid": value, "latency_ms_predicted": 1.0 + number}, None, 1.0)
        for number, value in enumerate(values)
    )
    objective = Objective("accuracy_valid", direction)
    return Contents(Path("run"), {}, None, (), (), objective, Limits(latency_ms=limit), told, None, None, None, {})


def traces(figure: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    assert figure is not None
    return {trace["name"].split(" (")[0]: trace for trace in figure["data"]}


@pytest.mark.parametrize("given_run", [{}, {"count": 2, "failed": None}, {"limit": "50ms"}, {"factor": None}])
def test_plots_are_valid_for_plotly_and_use_colours_of_the_style_sheet(
    make_run: MakeRun, given_run: dict[str, Any]
) -> None:
    found = figures(read_contents(*make_run(**given_run)))
    assert set(found) == {"pareto", "curve"}
    style = (Path(pareto_figure.__code__.co_filename).parent / "style.css").read_text(encoding="utf-8")
    for figure in found.values():
        go.Figure(**resolved(figure))  # refuses properties and values that plotly does not know
        assert {f"{colour}:" for colour in colours(figure)} <= set(style.split())


def test_the_pareto_plot_shows_evaluations_front_winner_and_limit(make_run: MakeRun) -> None:
    contents = read_contents(*make_run(limit="50ms", count=9, failed=4))
    figure = pareto_figure(contents)
    found = traces(figure)
    best = contents.best
    assert best is not None
    assert figure is not None
    assert len(found["evaluated"]["x"]) == 8
    assert found["Pareto front"]["x"] == sorted(each.metrics["latency_ms_predicted"] for each in contents.pareto)
    assert found["chosen"]["x"] == [best.metrics["latency_ms_predicted"]]
    assert found["chosen"]["y"] == [best.metrics["accuracy_valid_in_search"]]
    assert figure["layout"]["shapes"][0]["x0"] == 50.0
    low, high = figure["layout"]["xaxis"]["range"]
    assert low < 50.0 < high
    assert low < min(found["evaluated"]["x"])
    assert high > max(found["evaluated"]["x"])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from(["maximize", "minimize"]))
def test_the_curve_is_the_best_so_far(values: list[float], direction: str) -> None:
    curve = traces(curve_figure(contents_of(values, direction)))["best so far"]
    better = max if direction == "maximize" else min
    at = dict(zip(curve["x"], curve["y"], strict=True))
    shown = None
    for number in range(1, len(values) + 1):
        shown = at.get(number, shown)  # between two points the line keeps its height
        assert shown == better(values[:number])
    assert curve["x"][-1] == len(values)


def test_the_curve_and_the_cloud_leave_out_evaluations_of_a_lower_fidelity() -> None:
    contents = contents_of([0.9, 0.2, 0.8, 0.3, 0.7])
    told = tuple(
        dataclasses.replace(each, fidelity=fidelity)
        for each, fidelity in zip(contents.told, (2.0, 6.0, 2.0, 6.0, 2.0), strict=True)
    )
    contents = dataclasses.replace(contents, told=told)
    found = traces(curve_figure(contents))
    assert (found["best so far"]["x"], found["best so far"]["y"]) == ([2, 4], [0.2, 0.3])
    assert len(found["evaluated"]["x"]) == 5
    assert "fidelity: 2" in found["evaluated"]["text"][0]
    assert traces(pareto_figure(contents))["evaluated"]["y"] == [0.2, 0.3]
    rows = str(results.evaluations(contents)).split("<tr")[2:]
    assert [row.split("</th>")[0][-1] for row in rows] == ["3", "1", "0", "2", "4"]


def test_a_single_evaluation_is_a_visible_point() -> None:
    curve = traces(curve_figure(contents_of([0.5])))["best so far"]
    assert curve["mode"] == "markers"


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.integers(0, 3 * MANY))
def test_thinning_never_loses_the_best(place: int) -> None:
    values = [0.5] * (3 * MANY + 1)
    values[place] = 0.9
    figure = curve_figure(contents_of(values))
    found = traces(figure)
    assert len(found["evaluated"]["x"]) == MANY
    assert found["best so far"]["y"][-1] == 0.9
    assert place + 1 in found["best so far"]["x"]
    assert figure is not None
    assert "of 9,001 shown" in figure["data"][0]["name"]


def test_without_predictions_the_plot_is_over_macs() -> None:
    contents = contents_of([0.1, 0.2])
    told = tuple(dataclasses.replace(each, metrics={"accuracy_valid": 0.5, "macs": 7.0}) for each in contents.told)
    figure = pareto_figure(dataclasses.replace(contents, told=told))
    assert figure is not None
    assert figure["layout"]["xaxis"]["title"]["text"] == "MACs"
    assert figure["data"][0]["x"] == [7.0, 7.0]


def test_without_evaluations_there_are_no_plots() -> None:
    assert figures(contents_of([])) == {}


def test_predictions_of_held_out_networks_are_plotted_against_measurements_and_nonsense_is_left_out() -> None:
    rows = [{"measured_ms": 2.0, "predicted_ms": 1.9}, {"measured_ms": 4.0, "predicted_ms": 4.6}]
    wrong = [{"measured_ms": 0.0, "predicted_ms": 1.0}, {"measured_ms": "2"}, 7, None]
    latency = {"details": {"held_out": [*rows, *wrong]}}
    figure = held_out_figure(dataclasses.replace(contents_of([]), result={"latency": latency}))
    found = traces(figure)
    assert found["held-out networks"]["x"] == [2.0, 4.0]
    assert found["held-out networks"]["y"] == [1.9, 4.6]
    assert found["no error"]["x"] == found["no error"]["y"] == [1.9, 4.6]
    assert found["+10%"]["y"] == pytest.approx([2.09, 5.06])
    go.Figure(**resolved(figure))


@pytest.mark.parametrize("latency", [{}, {"details": {}}, {"details": {"held_out": []}}, {"details": 3}, None])
def test_without_held_out_networks_there_is_no_such_plot(latency: Any) -> None:
    assert held_out_figure(dataclasses.replace(contents_of([]), result={"latency": latency})) is None


def test_the_page_of_a_run_with_held_out_networks_has_their_plot_and_no_other_has(make_run: MakeRun) -> None:
    contents = read_contents(*make_run())
    assert 'id="held_out"' not in page(contents)
    details = {"held_out": [{"measured_ms": 2.0, "predicted_ms": 1.9}]}
    shown = page(dataclasses.replace(contents, result={**contents.result, "latency": {"details": details}}))
    assert [shown.count(f'id="{name}"') for name in ("held_out", "pareto", "curve")] == [1, 1, 1]
