"""The Python in the documentation runs: all blocks of a page, in order, as one program in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if "```python\n" in path.read_text(encoding="utf-8"))


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_python(code: str, folder: Path) -> str:
    (folder / "page.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NASFORGE_CACHE": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_there_are_pages_with_python() -> None:
    assert {"first-search.md", "own-space.md", "own-strategy.md", "own-target.md"} <= {page.name for page in PAGES}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    run_python("\n".join(python_blocks(page)), tmp_path)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    words = "search --space mbconv --strategy random --target gpu --budget 2-evaluations --out runs/mine"
    short = ("training.evaluation_epochs=1", "training.epochs=2", "space.preset=tiny")
    done = subprocess.run(
        [sys.executable, "-m", "nasforge", *words.split(), *short],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pixels = np.random.default_rng(0).integers(0, 256, (31, 17), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    blocks = python_blocks(ROOT / "README.md")
    assert len(blocks) == 4
    onnx_says, torch_says, *_ = run_python("\n".join(blocks), tmp_path).splitlines()
    assert onnx_says == torch_says  # the two ways of using the winner agree


def test_relative_links_of_the_documentation_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_reference_names_every_command_setting_and_environment_variable() -> None:
    from nasforge.cli.app import app
    from nasforge.run.settings import Settings

    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "nasforge").rglob("*.py"))
    wanted = {f"nasforge {command.name}" for command in app.registered_commands}
    wanted |= {f"`{key}" for key in Settings().to_json() if key != "limits"}
    wanted |= set(re.findall(r"NASFORGE_[A-Z_]+", sources))
    assert {name for name in wanted if name not in text} == set()


@pytest.mark.parametrize("page", [0, 1])
def test_the_figures_of_a_page_are_the_recorded_ones(page: int) -> None:
    code = (
        f"import insert_results as i; text = i.PAGES[{page}].read_text(encoding='utf-8'); "
        "assert i.inserted(text) == text, 'run python benchmarks/insert_results.py'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_recorded_result_stands_on_a_page() -> None:
    text = "".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("performance", "claims"))
    recorded = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    recorded = {name for name in recorded if not name.endswith("_quick")}
    assert recorded <= set(re.findall(r"<!-- result ([\w-]+) -->", text))
