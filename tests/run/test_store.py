"""The store: cut anywhere it loads, takes more, and loads again; what is not nasforge's is refused with a sentence."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasforge.errors import DamagedError, RunFolderError
from nasforge.ops import Conv, GlobalPool, Linear
from nasforge.run.store import StudyStore
from nasforge.space import Input, SearchSpace, choice
from nasforge.strategy import Evaluation


def make_space(widths: tuple[int, ...] = (4, 8, 12)) -> SearchSpace:
    x = Conv(choice(*widths, name="width"), choice(1, 3, name="kernel"))(Input(3, 8, 8), name="stem")
    return SearchSpace({"logits": Linear(2)(GlobalPool()(x))}, name="tiny")


SPACE = make_space()


def evaluation(number: int, **changes: Any) -> Evaluation:
    given: dict[str, Any] = {
        "number": number,
        "architecture": SPACE.sample(np.random.default_rng(number)),
        "metrics": {"accuracy_valid": 0.1 + number / 3, "params": 7.0},
        "fidelity": 2.5,
        "ask": max(0, number - 1),
        "tell": number,
        "seconds": 0.25,
    }
    return Evaluation(**{**given, **changes})


def written(path: Path, count: int) -> list[Evaluation]:
    store = StudyStore(path, SPACE)
    for number in range(count):
        store.append(evaluation(number))
    store.close()
    return reading(path)


def reading(path: Path) -> list[Evaluation]:
    store = StudyStore(path, SPACE)
    try:
        return store.load()
    finally:
        store.close()


def test_what_is_appended_is_read_back_exactly(tmp_path: Path) -> None:
    kept = [
        evaluation(0),
        evaluation(1, error="the loss is nan", metrics={}),
        evaluation(2, fidelity=None, metrics={"accuracy_valid": 1 / 3, "odd": 1e-17}),
    ]
    store = StudyStore(tmp_path / "study.log", SPACE)
    for each in kept:
        store.append(each)
    assert store.load() == kept
    assert reading(tmp_path / "study.log") == kept


def test_a_journal_cut_at_every_byte_of_its_last_two_lines_takes_more_and_loads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a thousand cuts; what is tested is what is written
    whole = tmp_path / "whole.log"
    kept = written(whole, 3)
    content = whole.read_bytes()
    lines = content.splitlines(keepends=True)
    begin = len(content) - len(lines[-1]) - len(lines[-2])
    path = tmp_path / "study.log"
    for cut in range(begin, len(content) + 1):
        path.write_bytes(content[:cut])
        store = StudyStore(path, SPACE)
        survived = store.load()
        assert survived == kept[: len(survived)]
        assert len(survived) == content[:cut].count(b"\n") - 1  # the first line makes the study
        assert store.repaired == (cut not in (begin, begin + len(lines[-2]), len(content)))
        more = [evaluation(number) for number in (len(survived), len(survived) + 1)]
        for each in more:
            store.append(each)
        store.close()
        assert reading(path) == [*survived, *more]


def test_the_cut_line_is_kept_beside_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    written(path, 2)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    reading(path)
    last = content.splitlines(keepends=True)[-1]
    assert (tmp_path / "study.log.torn").read_bytes() == last[:-10] + b"\n"


def test_the_lock_of_a_killed_writer_does_not_hold_up_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = written(Path("study.log"), 1)
    (tmp_path / "study.log.lock").symlink_to("study.log")
    store = StudyStore(Path("study.log"), SPACE)
    store.append(evaluation(1))  # would wait half a minute, or for ever
    store.close()
    assert len(reading(Path("study.log"))) == len(kept) + 1


def test_a_journal_of_another_space_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "study.log", 2)
    other = StudyStore(tmp_path / "study.log", make_space((4, 16)))
    with pytest.raises(DamagedError, match="of another space"):
        other.load()
    other.close()


@pytest.mark.parametrize("content", [b"no journal\n", b'{"op_code": 99}\n', b"\x00\xff\n", b"[]\n", b"{}\n{}\n"])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.log").write_bytes(content)
    with pytest.raises(DamagedError, match=r"study\.log"):
        reading(tmp_path / "study.log")


def test_a_trial_of_somebody_else_is_refused(tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    written(tmp_path / "study.log", 1)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    optuna.load_study(study_name="nasforge", storage=storage).add_trial(optuna.trial.create_trial(values=[1.0]))
    with pytest.raises(DamagedError, match="did not write"):
        reading(tmp_path / "study.log")


def test_a_full_disk_is_one_sentence_and_what_was_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.log"
    kept = written(path, 2)
    store = StudyStore(path, SPACE)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match="the disk is full"):
            store.append(evaluation(2))
    store.close()
    assert reading(path)[:2] == kept


def test_any_storage_that_optuna_knows_serves(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    store = StudyStore(url, SPACE)
    store.append(evaluation(0))
    store.close()
    again = StudyStore(url, SPACE)
    assert again.load() == [evaluation(0)]
    again.close()


def test_passwords_of_storages_stay_out_of_sentences() -> None:
    with pytest.raises(RunFolderError) as caught:
        StudyStore("postgresql://me:secret@127.0.0.1:1/runs", SPACE)
    assert "secret" not in str(caught.value)


def test_the_journal_is_a_study_that_optuna_reads(tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    written(tmp_path / "study.log", 3)
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    study = optuna.load_study(study_name="nasforge", storage=storage)
    assert study.best_value == pytest.approx(0.1 + 2 / 3)
    assert [trial.params for trial in study.trials] == [
        dict(SPACE.describe(each.architecture)) for each in reading(tmp_path / "study.log")
    ]
    assert all(json.loads(line) for line in (tmp_path / "study.log").read_text().splitlines())
