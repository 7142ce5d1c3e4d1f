"""Files of a run that somebody altered: one sentence for any value in any place, never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nasforge
from nasforge import DamagedError, NasforgeError, SearchResult, SearchSpace
from nasforge.cli.running import print_summary
from nasforge.report.contents import read_contents
from nasforge.run.artifact import Artifact, describe, read_artifact
from nasforge.run.options import make_space
from nasforge.run.result import read_result
from nasforge.run.settings import Plug
from nasforge.testing.target import MemoryTarget

pytestmark = pytest.mark.plugins

JUNK: tuple[Any, ...] = (None, 3, -1, 2.5, "x", [], {}, True, [3], {"a": 1}, 10**40)
DEEP = "[" * 100_000 + "]" * 100_000
Search = Callable[..., SearchResult]


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give every place in plain data, from the top down; of lists the first entry is enough."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, entry in items:
        yield from paths(entry, (*here, key))


def altered(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    """Return the data with one place changed."""
    if not path:
        return junk
    changed = copy.copy(value)
    changed[path[0]] = altered(value[path[0]], path[1:], junk)
    return changed


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """Return the data with one place left away."""
    changed = copy.deepcopy(value)
    owner = changed
    for key in path[:-1]:
        owner = owner[key]
    del owner[path[-1]]
    return changed


def tries(value: Any, every: int = 1) -> Iterator[Any]:
    """Give the data with each place changed to each junk, or left away."""
    for path in paths(value):
        for junk in JUNK[::every]:
            yield altered(value, path, junk)
        if path:
            yield without(value, path)


def test_any_value_in_result_json_is_read_or_refused_in_one_sentence(
    search_small: Search, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = search_small(budget="2-evaluations", retrain=False).folder
    for name in ("study.log", "architecture.json"):
        (folder / name).unlink()
    file, read = folder / "result.json", 0
    refused: list[str] = []
    for document in tries(json.loads(file.read_text()), every=3):
        file.write_text(json.dumps(document))
        try:
            print_summary(SearchResult.read(folder))
            read_contents(folder)
            read += 1
        except DamagedError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all("nasforge resume" in sentence or "schema" in sentence for sentence in refused)
    assert read > 30


@pytest.mark.parametrize(
    "change", [{"best": 3}, {"finalists": "x"}, {"pareto": [3]}, {"warnings": [3]}, {"status": "x"}]
)
def test_a_result_of_another_shape_is_made_again_by_resume(
    search_small: Search, small_source: Any, small_space: SearchSpace, change: dict[str, Any]
) -> None:
    result = search_small(budget="2-evaluations", retrain=False)
    file = result.folder / "result.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({**before, **change}))
    with pytest.raises(DamagedError, match=f"'{next(iter(change))}' is not as nasforge writes it"):
        read_result(result.folder)
    nasforge.resume(result.folder, space=small_space, target=MemoryTarget(), data=small_source)
    after = json.loads(file.read_text())
    assert {**after, "seconds": 0} == {**before, "seconds": 0}


def test_any_value_in_an_architecture_file_is_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    space = make_space("mbconv", {"preset": "tiny"}, (3, 8, 8), 10)
    artifact = Artifact(space, space.smallest(), Plug("mbconv"), 10)
    file, refused = tmp_path / "architecture.json", 0
    for document in tries(artifact.to_json()):
        file.write_text(json.dumps(document))
        try:
            describe(read_artifact(file))
        except NasforgeError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("shape", [[3], [], [3, 8], [3, 0, 8], [3, 8, -8], "x", [[1]], None, ["a", 8, 8]])
def test_an_input_that_is_no_image_is_damage(tmp_path: Path, shape: Any) -> None:
    space = make_space("mbconv", {}, (3, 8, 8), 10)
    document = Artifact(space, space.smallest(), Plug("mbconv"), 10).to_json()
    (tmp_path / "architecture.json").write_text(json.dumps({**document, "input_shape": shape}))
    with pytest.raises(DamagedError, match=r"architecture\.json"):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    ("name", "read"),
    [("architecture.json", read_artifact), ("result.json", read_result), ("result.json", read_contents)],
)
@pytest.mark.parametrize("content", [DEEP, '{"a": ' * 50_000, "9" * 5000, "", "\x00"])
def test_json_that_is_nested_or_long_beyond_reason_is_damage(
    tmp_path: Path, name: str, read: Callable[[Path], Any], content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DamagedError, match=name):
        read(tmp_path)
