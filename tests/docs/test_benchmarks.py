"""The scripts behind the figures of the documentation: what they import is there, what they record is kept whole."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))

pytestmark = pytest.mark.plugins


def imported(script: Path) -> set[tuple[str, str]]:
    """Return modules of nasforge and of its plug-ins with the names that a script takes of them."""
    found = ast.walk(ast.parse(script.read_text(encoding="utf-8")))
    return {
        (node.module, name.name)
        for node in found
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nasforge")
        for name in node.names
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_a_benchmark_imports_is_there(script: Path) -> None:
    for module, name in imported(script):
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.import_module(f"{module}.{name}"), f"{module}.{name}"


def test_a_table_with_two_columns_of_one_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    record = importlib.import_module("record")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match=r"several columns named \['to'\]"):
        record.record("intervals", ["what", "from", "to", "from ", "to"], [["x", 0, 1, 2, 3]], {})
    assert not list(tmp_path.iterdir())
    monkeypatch.delitem(sys.modules, "record")
