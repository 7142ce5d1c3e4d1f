"""Float32 and INT8 side by side in the report: every figure exactly, and each convolution that stayed float."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasforge.report import write_report
from nasforge.space import SearchSpace

MakeRun = Callable[..., tuple[Path, SearchSpace]]
INT8 = {"accuracy": 0.9, "accuracy_int8": 0.88, "latency_ms": 0.5, "latency_ms_float32": 1.25}


def page(made: tuple[Path, SearchSpace], metrics: dict[str, float], left: Any) -> str:
    folder, space = made
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    result["best"]["metrics"] |= metrics
    result["best"]["provenance"] |= {
        "float_convolutions": left, "measurement_float32": {"source": "measured by a sundial"},
    }  # fmt: skip
    path.write_text(json.dumps(result), encoding="utf-8")
    return write_report(folder, space).read_text(encoding="utf-8")


def section(text: str) -> str:
    found = re.search(r"Float32 and INT8</h2>.*?</section>", text, re.DOTALL)
    assert found is not None
    return found[0]


def test_accuracy_and_latency_stand_beside_each_other(make_run: MakeRun) -> None:
    text = page(make_run(), INT8, [])
    shown = section(text)
    assert [float(value) for value in re.findall(r'value="([^"]+)"', shown)] == [0.9, 0.88, 1.25, 0.5]
    assert "-2.00 points" in shown
    assert "2.50 times as fast" in shown
    assert "No convolution of the INT8 file runs in float." in shown
    assert "measured by a sundial" in text


def test_what_was_not_measured_is_left_open(make_run: MakeRun) -> None:
    shown = section(page(make_run(factor=None), {"accuracy": 0.9, "accuracy_int8": 0.88}, None))
    assert "times as fast" not in shown
    assert "Nothing is known of convolutions" in shown


def test_convolutions_that_stayed_float_are_listed_as_text(make_run: MakeRun) -> None:
    shown = section(page(make_run(), INT8, ["stem: its weights are float", "<img src=x>: why"]))
    assert "2 convolutions of the INT8 file run in float:" in shown
    assert "<li>stem: its weights are float</li>" in shown
    assert "<img" not in shown


@pytest.mark.parametrize("factor", [1.0, None])
def test_a_network_of_float32_alone_has_no_such_part(make_run: MakeRun, factor: float | None) -> None:
    folder, space = make_run(factor=factor)
    assert "Float32 and INT8" not in write_report(folder, space).read_text(encoding="utf-8")
