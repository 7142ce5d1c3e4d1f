"""`nasforge bench`: what it prints, its exit codes, and Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasforge.cli.app import main
from nasforge.config.configurations import parse_configurations
from nasforge.errors import UsageError

GIVEN = ("--evaluations", "12", "--seeds", "3", "--workers", "1")


def test_configurations_are_split_at_commas_outside_of_quotes_and_brackets() -> None:
    found = parse_configurations(["a x=[1,2] y='b c', d", "'table:one, two.csv' k=1e-3"], "strategy")
    assert found == [("a", {"x": [1, 2], "y": "b c"}), ("d", {}), ("table:one, two.csv", {"k": 0.001})]


@pytest.mark.parametrize("text", ["", "a,,b", "a b", "a =1", "x=1", "a 'b"])
def test_texts_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_configurations([text], "strategy")


@pytest.mark.plugins
def test_standings_pairs_and_notes_are_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    strategies = ["--strategy", "evolution population=5 sample=2,nsga2", "--strategy", "evolution"]
    objectives = ["--objectives", "accuracy,latency", "--budgets", "6,12"]
    assert main(["bench", "--suite", "synthetic", *strategies, *objectives, *GIVEN, "--out", str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "the best of 15,625 is 0.95" in out
    for name in ("random", "evolution population=5 sample=2", "nsga2", "hypervolume"):
        assert name in out
    assert "note: random was added" in out
    assert str(tmp_path / "b" / "bench.html") in out


@pytest.mark.plugins
def test_json_is_the_document_alone_and_the_command_in_it_makes_it_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given = ["--suite", "synthetic seed=3", "--strategy", "evolution population=5 sample=2", "--objectives"]
    assert main(["bench", *given, "accuracy,latency", *GIVEN, "--out", str(tmp_path / "b"), "--json"]) == 0
    captured = capsys.readouterr()
    first = json.loads(captured.out)
    assert first == json.loads((tmp_path / "b" / "bench.json").read_text(encoding="utf-8"))
    assert "searches" in captured.err
    program, *arguments = shlex.split(first["command"])
    assert program == "nasforge"
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert len(list((tmp_path / "b" / "searches").iterdir())) == 6


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--suite", "synthetc", "--strategy", "random"), "Did you mean 'synthetic'"),
        (("--suite", "synthetic", "--strategy", "bignas"), "'bignas' trains shared weights"),
        (("--suite", "synthetic", "--strategy", "evolution populaton=1"), "Did you mean 'population'"),
        (("--suite", "synthetic", "--strategy", "random", "--objectives", "accuracy,energy"), "latency_ms"),
        (("--suite", "synthetic", "--strategy", "random", "--seeds", "few"), "seeds was given 'few'"),
        (("--suite", "synthetic", "--strategy", "random", "--seconds", "1h"), "seconds was given '1h'"),
        (("--suite", "table:none.csv", "--strategy", "random"), "--space"),
        (("--suite", "table:none.csv", "--space", "nb201", "--strategy", "random"), "none.csv"),
        (("--suite", "synthetic,nats_sss", "--strategy", "random"), "nats_sss_cifar10.npz"),
    ],
)
def test_bad_usage_is_one_sentence_and_code_2_before_any_work(
    arguments: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASFORGE_DATA", str(tmp_path))
    assert main(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert sentence in captured.err
    assert not list(tmp_path.iterdir())


# a shell's background jobs ignore Ctrl-C and hand that down; the program is tested as a terminal starts it
AS_IN_A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PROGRAM = [sys.executable, "-c", f"{AS_IN_A_TERMINAL}; import sys; from nasforge.cli import main; sys.exit(main())"]


@pytest.mark.plugins
@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path, workers: str) -> None:
    given = ["--suite", "synthetic", "--strategy", "evolution", "--seeds", "4000", "--evaluations", "40"]
    command = [*PROGRAM, "bench", *given, "--workers", workers, "--out", str(tmp_path / "b")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    searches = tmp_path / "b" / "searches"
    deadline = time.monotonic() + 120
    while not (searches.is_dir() and any(searches.glob("[!.]*.json"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    (sentence,) = [line for line in err.splitlines() if "interrupted; go on with: " in line]
    assert f"--out {tmp_path / 'b'}" in sentence
    assert f"--workers {workers}" in sentence
    assert 0 < len(list(searches.glob("*.json"))) < 8000
    assert not (tmp_path / "b" / "bench.json").exists()


@pytest.mark.plugins
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "no suite was given"),
        (("--suite", "synthetic"), "no strategy was given"),
        (("--truth", "nb201", "--suite", "synthetic"), "--suite was given"),
        (("--truth", "nb201", "--budgets", "3"), "--budgets was given"),
        (("--suite", "synthetic", "--strategy", "random", "--sample", "3"), "--sample was given"),
        (("--suite", "synthetic", "--strategy", "random", "space.width=2"), "'space.width=2' was given"),
        (("--truth", "nb202"), "nb201"),
        (("--truth", "nb201", "space.repeat=2"), "repeat"),
        (("--truth", "nb201", "epochs=2"), "group.option=value"),
        (("--truth", "nb201", "--seeds", "many"), "whole numbers"),
        (("--truth", "nb201", "--sample", "0"), "sample was given 0"),
        (("--suite", "truth:nowhere.json", "--strategy", "random"), "does not exist"),
    ],
)
def test_what_does_not_go_with_truth_tables_is_one_sentence(
    given: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["bench", *given, "--out", str(tmp_path / "b")]) == 2
    captured = capsys.readouterr()
    assert said in " ".join(captured.err.split())
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
@pytest.mark.plugins
def test_a_space_is_trained_goes_on_after_ctrl_c_and_few_of_many_are_no_suite(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, table = tmp_path / "t", tmp_path / "kept.json"
    given = ["space.repeats=1", "training.steps=10", "data_options.limit=200", "--sample", "5", "--workers", "1"]
    command = ["bench", "--truth", "nb201", *given, "--out", str(folder), "--table", str(table)]
    program = [sys.executable, "-m", "nasforge", *command]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    for _ in range(3000):
        if len(list(folder.glob("networks/*.json"))) > 2:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    again = said.split("go on with: ")[1].strip()
    kept = len(list(folder.glob("networks/*.json")))
    assert 2 < kept < 10
    assert main([*shlex.split(again)[1:], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(table.read_text(encoding="utf-8"))
    assert len(document["rows"]) == document["networks"] == 5
    assert document["space"]["options"] == {"repeats": 1}
    assert "--out" not in document["command"]
    assert (
        main(["bench", "--suite", f"truth:{table}", "--strategy", "random", *GIVEN, "--out", str(tmp_path / "b")]) == 2
    )
    assert "holds 5 of the 15,625 architectures" in capsys.readouterr().err
