"""The page of a comparison: self-contained, escaped, and with every figure of the document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nasforge.report.comparison import comparison_page, write_comparison
from nasforge.report.comparison_plots import comparison_figures, curves_figure, differences_figure, fronts_figure

HOSTILE = "</script><script>document.body.id='owned'</script><img src=x onerror=\"document.body.id='owned'\">"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000",
)  # fmt: skip


def mean(values: dict[str, float], low: float, high: float) -> dict[str, Any]:
    return {"mean": sum(values.values()) / len(values), "interval": {"low": low, "high": high}, "values": values}


def configuration(label: str, value: float, **more: Any) -> dict[str, Any]:
    values = {"1": value, "2": value + 0.1}
    return {
        "label": label,
        "settings": {},
        "folders": {"1": f"sweep/{label},seed=1", "2": f"sweep/{label},seed=2"},
        "score": mean(values, value - 0.2, value + 0.3),
        "best": [2, value + 0.1],
        "latency": mean({"1": 1.25, "2": 1.25}, 1.25, 1.25),
        "latency_metric": "latency_ms_predicted",
        "seconds": mean({"1": 90.0, "2": 90.0}, 90.0, 90.0),
        "evaluations": mean({"1": 3.0, "2": 3.0}, 3.0, 3.0),
        "image_macs": mean({"1": 2.5e12, "2": 2.5e12}, 2.5e12, 2.5e12),
        "hypervolume": mean({"1": 0.5, "2": 0.75}, 0.1, 1.0),
        "curve": {
            "evaluations": [1, 2, 3], "mean": [0.1, 0.2, 0.2], "low": [0.1, 0.1, 0.1], "high": [0.1, 0.3, 0.3],
        },
        "fronts": {"1": [[1.0, 0.25], [2.0, 0.5]], "2": [[1.5, 0.5]]},
        **more,
    }  # fmt: skip


def document(**more: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "metric": "accuracy",
        "direction": "maximize",
        "objective": ["accuracy_valid", "maximize"],
        "cost": "latency_ms_predicted",
        "reference": [2.1, 0.225],
        "interval": "t",
        "confidence": 0.95,
        "baseline": "strategy=random",
        "configurations": [configuration("strategy=random", 0.5), configuration("strategy=evolution", 0.6)],
        "pairs": [
            {
                "label": "strategy=evolution",
                "metric": "accuracy",
                "difference": mean({"1": 0.0625, "2": 0.1875}, -0.25, 0.5),
                "signs": {"better": 2, "worse": 0, "equal": 0},
                "missing": {"configuration": [], "baseline": [7]},
            }
        ],
        "differing": [],
        "notes": [],
        **more,
    }


def test_every_figure_of_the_document_is_on_the_page() -> None:
    text = comparison_page(document(notes=["a note"], differing=["they differ in data"]))
    for part in (
        "strategy=random", "55.00 %", "[30.00 %, 80.00 %]", "60.00 % (seed 2)", "1.25 ms", "1 min 30 s", "2.5e+12",
        "+12.50 points", "[-25.00 points, +50.00 points]", "7 (missing in the baseline)", "a note", "NOT ALIKE",
        "reference point valid accuracy 0.225, latency_ms_predicted 2.1", "sweep/strategy=evolution,seed=2",
    ):  # fmt: skip
        assert part in re.sub(r"</?(data|small)[^>]*>", "", text), part


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = comparison_page(document())
    body = text[: text.index('<script type="text/plain" id="plotly">')]
    assert "<!--" not in body
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", body)
    assert "default-src 'none'" in body


def test_without_runs_to_pair_or_fronts_or_curves_the_page_says_so() -> None:
    bare = configuration("a", 0.5, curve=None, fronts={}, hypervolume=None, latency=None, seconds=None, best=None)
    text = comparison_page(document(configurations=[bare], pairs=[], reference=None, baseline="a"))
    assert "There is no other configuration to pair with" in text
    assert "There is no Pareto front" in text
    assert "There is nothing to plot" in text


def test_foreign_texts_are_escaped_in_page_and_plots() -> None:
    hostile = document(
        configurations=[configuration(HOSTILE, 0.5)], baseline=HOSTILE, notes=[HOSTILE], differing=[HOSTILE]
    )
    text = comparison_page(hostile)
    assert HOSTILE not in text
    figures = json.dumps(comparison_figures(hostile))
    assert "<img" not in figures
    assert "<script" not in figures


def test_plots_hold_the_figures() -> None:
    curves, fronts, differences = (make(document()) for make in (curves_figure, fronts_figure, differences_figure))
    assert curves is not None
    assert fronts is not None
    assert differences is not None
    low, high, middle = curves["data"][:3]
    assert (low["y"], high["y"], middle["y"]) == ([0.1, 0.1, 0.1], [0.1, 0.3, 0.3], [0.1, 0.2, 0.2])
    assert high["fill"] == "tonexty"
    assert [(trace["x"], trace["showlegend"]) for trace in fronts["data"]] == [
        ([1.0, 2.0], True), ([1.5], False), ([1.0, 2.0], True), ([1.5], False),
    ]  # fmt: skip
    seeds, means = differences["data"]
    assert seeds["x"] == [0.0625, 0.1875]
    assert means["x"] == [0.125]
    assert (means["error_x"]["arrayminus"], means["error_x"]["array"]) == ([0.375], [0.375])


def test_a_curve_is_thinned_to_where_it_changes() -> None:
    flat = {"evaluations": list(range(1, 5001)), **{key: [0.5] * 5000 for key in ("mean", "low", "high")}}
    wild = {
        "evaluations": list(range(1, 5001)),
        **{key: [n / 5000 for n in range(5000)] for key in ("mean", "low", "high")},
    }
    for curve, most in ((flat, 2), (wild, 1501)):
        figure = curves_figure(document(configurations=[configuration("a", 0.5, curve=curve)]))
        assert figure is not None
        assert len(figure["data"][2]["x"]) == most
        assert (figure["data"][2]["x"][0], figure["data"][2]["x"][-1]) == (1, 5000)


@pytest.mark.browser
def test_the_page_is_drawn_in_a_browser_and_hostile_text_does_nothing(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    assert chromium is not None, "chromium is not installed; apt-get install chromium"
    names = ["strategy=random", HOSTILE]
    configurations = [configuration(label, 0.5 + place / 10) for place, label in enumerate(names)]
    pairs = [{**document()["pairs"][0], "label": HOSTILE}]
    page = write_comparison(
        tmp_path / "page.html", document(configurations=configurations, pairs=pairs, notes=[HOSTILE])
    )
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    for name in ("curves", "fronts", "differences"):
        plot = re.search(rf'<div id="{name}".*?<figcaption>', done.stdout, re.DOTALL)
        assert plot is not None
        assert 'class="main-svg"' in plot[0]
    assert done.stdout.count('class="point"') >= 9
    assert 'id="owned"' not in re.sub(r"<!--.*?-->", "", done.stdout)
