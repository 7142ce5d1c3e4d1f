"""What the journal costs the process that writes it, and what else may be in it."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nasforge import registry
from nasforge.run.store import StudyStore
from nasforge.run.store import journal as journal_module
from nasforge.space import SearchSpace
from nasforge.strategy import Evaluation

pytestmark = pytest.mark.plugins


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    found: SearchSpace = registry.load("spaces", "mbconv")()
    assert len(found.choices) >= 20
    return found


def evaluation(space: SearchSpace, number: int) -> Evaluation:
    architecture = space.sample(np.random.default_rng(number))
    metrics = {"accuracy_valid": number / 7, "params": 1e6 + number, "macs": 3e6 + number}
    return Evaluation(number, architecture, metrics, ask=number, tell=number, seconds=0.25)


def test_an_appended_evaluation_is_not_kept_in_memory(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "FORGET_EVERY", 16)
    store = StudyStore(tmp_path / "study.log", space)
    given = [evaluation(space, number) for number in range(17 + 8 * 16)]
    for each in given[:17]:  # the first of the second round: from here on as much is forgotten as is added
        store.append(each)
    gc.collect()
    tracemalloc.start()
    for each in given[17:]:
        store.append(each)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    store.close()
    assert kept / (len(given) - 17) < 1024
    again = StudyStore(tmp_path / "study.log", space)
    assert again.load() == given
    again.close()


def test_what_was_forgotten_is_all_there_for_optuna(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    monkeypatch.setattr(journal_module, "FORGET_EVERY", 3)
    store = StudyStore(tmp_path / "study.log", space)
    given = [evaluation(space, number) for number in range(10)]
    for each in given:
        store.append(each)
    assert store.load() == given
    store.append(evaluation(space, 10))
    store.close()
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    trials = optuna.load_study(study_name="nasforge", storage=storage).trials
    assert [trial.number for trial in trials] == list(range(11))
    for trial, each in zip(trials, given, strict=False):
        assert trial.params == dict(space.describe(each.architecture))
        assert trial.values == [each.metrics["accuracy_valid"]]
        assert set(trial.distributions) == set(trial.params)


def test_a_journal_that_holds_another_study_first_serves_as_well(space: SearchSpace, tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    other = optuna.create_study(study_name="somebody else's", storage=storage)
    other.add_trial(optuna.trial.create_trial(value=1.0))
    store = StudyStore(tmp_path / "study.log", space)
    given = [evaluation(space, number) for number in range(3)]
    for each in given:
        store.append(each)
    assert store.load() == given
    store.close()
    again = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    assert len(optuna.load_study(study_name="somebody else's", storage=again).trials) == 1
    assert len(optuna.load_study(study_name="nasforge", storage=again).trials) == 3


def test_what_is_written_into_the_study_beside_the_run_stays(space: SearchSpace, tmp_path: Path) -> None:
    """As optuna-dashboard does when somebody writes a note."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    store = StudyStore(tmp_path / "study.log", space)
    store.append(evaluation(space, 0))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    optuna.load_study(study_name="nasforge", storage=storage).set_user_attr("note", "mine")
    store.append(evaluation(space, 1))
    assert store.load() == [evaluation(space, 0), evaluation(space, 1)]
    store.close()
    again = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    assert optuna.load_study(study_name="nasforge", storage=again).user_attrs == {"note": "mine"}
