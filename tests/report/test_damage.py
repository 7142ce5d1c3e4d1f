"""What is missing or damaged in a run folder leaves its part of the page out, or is one sentence; never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nasforge.cli.app import main
from nasforge.errors import DamagedError
from nasforge.report import write_report
from nasforge.report.contents import read_contents
from nasforge.report.page import page
from nasforge.space import SearchSpace

MakeRun = Callable[..., tuple[Path, SearchSpace]]


@pytest.mark.parametrize(
    ("name", "part", "kept"),
    [
        ("study.log", "The search curve and the evaluations beside the front are left out.", 'id="pareto"'),
        ("architecture.json", "The drawing is left out.", "Finalists"),
        ("config.yaml", "Options and the command are left out.", "nasforge-drawing"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "binary", "other"])
def test_a_damaged_file_leaves_its_part_out_and_is_named(
    make_run: MakeRun, name: str, part: str, kept: str, damage: str
) -> None:
    folder, space = make_run()
    whole = write_report(folder, space).read_text(encoding="utf-8")
    assert part not in whole
    if damage == "missing":
        (folder / name).unlink()
    else:
        content = {"empty": b"", "binary": b"\xff\xfe\x00\x80", "other": b"[1, 2]\n"}[damage]
        (folder / name).write_bytes(content)
    text = write_report(folder, space).read_text(encoding="utf-8")
    assert part in text
    assert f"<b>{name}: </b>" in text
    assert kept in text


def test_without_a_journal_there_is_no_search_curve(make_run: MakeRun) -> None:
    folder, space = make_run()
    assert 'id="curve"' in write_report(folder, space).read_text(encoding="utf-8")
    (folder / "study.log").unlink()
    assert 'id="curve"' not in write_report(folder, space).read_text(encoding="utf-8")


def test_a_torn_journal_shows_what_is_whole(make_run: MakeRun) -> None:
    folder, space = make_run(count=6, failed=None)
    journal = folder / "study.log"
    journal.write_bytes(journal.read_bytes()[:-40])
    contents = read_contents(folder, space)
    assert [each.number for each in contents.told] == [0, 1, 2, 3, 4]
    assert "1 line" in contents.notes["study.log"]


def test_the_journal_reads_as_the_store_does(make_run: MakeRun) -> None:
    from nasforge.run.store import StudyStore

    folder, space = make_run()
    told = read_contents(folder, space).told
    stored = StudyStore(folder / "study.log", space).load()
    assert [(each.number, dict(each.metrics), each.error, each.seconds) for each in told] == [
        (each.number, dict(each.metrics), each.error, each.seconds) for each in stored
    ]


def test_an_architecture_of_another_run_is_not_drawn(make_run: MakeRun) -> None:
    folder, space = make_run()
    stored = json.loads((folder / "architecture.json").read_text(encoding="utf-8"))
    decisions = stored["architecture"]["decisions"]
    decisions["width"] = next(each for each in ("8", "12") if each != str(decisions["width"]))
    (folder / "architecture.json").write_text(json.dumps(stored), encoding="utf-8")
    text = write_report(folder, space).read_text(encoding="utf-8")
    assert "another architecture than result.json names" in text
    assert "nasforge-drawing" not in text


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"schema": 1}', b"\xff\xff"])
def test_without_a_result_the_report_is_one_sentence(
    make_run: MakeRun, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, space = make_run()
    (folder / "result.json").unlink()
    if content is not None:
        (folder / "result.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"result\.json"):
        write_report(folder, space)
    assert not (folder / "report.html").exists()
    assert main(["report", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "result.json" in error


@pytest.mark.parametrize("name", ["nowhere", "run/result.json"])
def test_what_is_no_folder_is_refused(make_run: MakeRun, name: str) -> None:
    folder, _ = make_run()
    with pytest.raises(DamagedError, match="is not a folder"):
        write_report(folder.parent / name)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of nested plain data."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_in(inner, (*path, key))


ODD = {"null": None, "text": "<b>", "negative": -1.5, "list": [[]], "mapping": {"a": None}, "huge": 10**400}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_any_value_of_the_result_may_be_odd(make_run: MakeRun, odd: Any) -> None:
    """Every value in turn, however deep: a page or one sentence, and no other error."""
    folder, space = make_run(count=2, failed=None, limit="50ms")
    whole = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    pages = 0
    for path in paths_in(whole):
        changed = copy.deepcopy(whole)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = odd
        (folder / "result.json").write_text(json.dumps(changed), encoding="utf-8")
        try:
            contents = read_contents(folder, space)
        except DamagedError:
            continue
        assert page(contents).endswith("</html>\n")
        pages += 1
    assert pages > 20
