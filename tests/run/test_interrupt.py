"""Ctrl-C during training is obeyed between two steps, after a checkpoint; what is resumed is the undisturbed run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import nasforge
from nasforge import Listener
from nasforge.run.checkpoint import Checkpoints
from nasforge.run.interrupt import Interruption


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """Give SIGINT the handler that it has where a program was not started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Impatient(Listener):
    """Sends a signal in the n-th step of a part of the run, before the step is over."""

    def __init__(self, part: str, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.part, self.left, self.number = part, step, number

    def figures(self, part: str, step: int, figures: Mapping[str, float]) -> None:
        if part.startswith(self.part):
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(self.number)


def options(folder: Path, strategy: str) -> dict[str, Any]:
    return {
        "space": {"name": "mbconv_elastic", "width": 0.25} if strategy == "bignas" else {"name": "nb201", "repeats": 1},
        "strategy": strategy,
        "target": "gpu",
        "data_options": {"limit": 300},
        "budget": "2-epochs" if strategy == "bignas" else "1-evaluations",
        "training": {"batch_size": 32, "epochs": 2, "evaluation_epochs": 1},
        "out": folder,
    }


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("strategy", "part", "kind"),
    [("bignas", "shared_training", "training"), ("random", "retraining", "retrained-")],
)
def test_an_interrupted_training_goes_on_from_its_last_step(
    strategy: str, part: str, kind: str, tmp_path: Path
) -> None:
    whole = nasforge.search(**options(tmp_path / "whole", strategy))
    with pytest.raises(KeyboardInterrupt):
        nasforge.search(**options(tmp_path / "cut", strategy), listener=Impatient(part, 5))
    (written,) = (tmp_path / "cut" / "checkpoints").glob(f"{kind}*")
    state = Checkpoints(written.parent).load(written.stem.rpartition("-")[0])
    done = state["place"][2] if strategy == "bignas" else state["training"]["step"]
    assert done == 5
    heard = Impatient(part, -1)
    resumed = nasforge.resume(tmp_path / "cut", listener=heard)
    assert resumed.best is not None
    assert whole.best is not None
    assert resumed.best["metrics"]["nll"] == whole.best["metrics"]["nll"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(first[key], second[key]) for key in first.keys() | second.keys())


@pytest.mark.slow
@pytest.mark.plugins
def test_a_retraining_by_all_of_a_recipe_goes_on_at_the_same_place_of_its_ramps(tmp_path: Path) -> None:
    recipe = {"drop_path_keep": 0.5, "auxiliary_weight": 0.4, "ema_decay": 0.9, "dropout": 0.3, "schedule": "steps"}
    given = options(tmp_path / "whole", "random")
    given["space"] = {"name": "nasnet", "blocks": 1, "repeats": 1, "filters": 48}
    given["training"] |= recipe
    whole = nasforge.search(**given)
    with pytest.raises(KeyboardInterrupt):
        nasforge.search(**{**given, "out": tmp_path / "cut"}, listener=Impatient("retraining", 5))
    resumed = nasforge.resume(tmp_path / "cut")
    assert resumed.metrics["nll"] == whole.metrics["nll"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(first[key], second[key]) for key in first.keys() | second.keys())


def test_a_signal_waits_until_it_is_asked_about() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(number, signal.default_int_handler)
        try:
            with Interruption() as interruption:
                signal.raise_signal(number)
                assert interruption.asked
                with pytest.raises(KeyboardInterrupt):
                    interruption.obey()
            assert signal.getsignal(number) is signal.default_int_handler
        finally:
            signal.signal(number, before)


def test_a_second_signal_is_obeyed_at_once_and_one_at_the_end_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption():  # noqa: PT012 - where it is raised is the point
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second signal was held back")
    reached = False
    with pytest.raises(KeyboardInterrupt), Interruption():  # noqa: PT012 - as above
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached


def test_signals_without_a_handler_keep_their_meaning() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert not interruption.asked


def test_outside_of_the_main_thread_nothing_is_held_back() -> None:
    found: list[bool] = []

    def work() -> None:
        with Interruption() as interruption:
            found.append(interruption.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
