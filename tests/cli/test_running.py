"""Long work of a command: its document or its summary is printed, and stopped work says how it goes on."""

from __future__ import annotations

import json

import pytest

from nasforge.cli.running import INTERRUPTED, run_and_print, run_resumable
from nasforge.run.resumable import ResumableInterrupt


def stopped(listener):
    raise ResumableInterrupt("nasforge go on --with 'it  all'")


def never(*_):
    raise AssertionError("nothing was made")


def test_the_document_is_printed_alone_or_the_summary_with_the_listener(capsys, tmp_path):
    def start(listener):
        listener.opened(tmp_path)
        return 3

    def show(made, listener):
        print(made, listener.folder)

    assert run_and_print(start, lambda made: {"made": made}, never, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"made": 3}
    assert run_and_print(start, never, show, as_json=False) == 0
    assert capsys.readouterr().out == f"3 {tmp_path}\n"


@pytest.mark.parametrize("as_json", [True, False])
def test_stopped_work_says_the_command_as_it_is_and_prints_nothing_else(capsys, as_json):
    assert run_and_print(stopped, never, never, as_json) == INTERRUPTED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "nasforge: interrupted; go on with: nasforge go on --with 'it  all'\n"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_what_cannot_be_carried_on_is_not_caught(capsys, kind):
    def start(listener):
        raise kind

    with pytest.raises(kind):
        run_resumable(start)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["nasforge.bench:BenchInterrupted", "nasforge.bench.truth:TruthInterrupted",
             "nasforge.config.sweep:SweepInterrupted"],
)  # fmt: skip
def test_benches_truth_tables_and_sweeps_are_interrupted_so(name):
    import importlib

    module, kind = name.split(":")
    found = getattr(importlib.import_module(module), kind)
    assert issubclass(found, ResumableInterrupt)
    assert found("a command").command == "a command"
