"""Stages of work outside a run: how far it is, how long it will take, and that it was stopped."""

from __future__ import annotations

import itertools

import pytest
import typer

from nasforge.cli import console
from nasforge.cli import stage as stages


def test_the_time_left_follows_from_the_shares_done(monkeypatch, capsys):
    clock = itertools.count(100.0, 20.0)
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(console, "PLAIN_EVERY_SECONDS", 0.0)
    heard = []
    monkeypatch.setattr(console.Terminal, "stage", lambda self, name, total: heard.append((name, total)))
    monkeypatch.setattr(console.Terminal, "progress", lambda self, done, figures: heard.append((done, dict(figures))))
    with stages.stage("work") as progress:
        for share in (0.5, 0.51, 0.6):
            progress(share, 1.0)
    assert heard == [("work", 100.0), (50, {}), (51, {}), (60, {"seconds left": 160.0})]


def test_work_that_is_stopped_says_so(capsys):
    with pytest.raises(typer.Exit) as stopped, stages.stage("work"):
        raise KeyboardInterrupt
    assert stopped.value.exit_code == 130
    assert capsys.readouterr().err == "nasforge: interrupted.\n"
