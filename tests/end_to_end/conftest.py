"""The program as people run it: in processes of its own, with a cache of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Nasforge = Callable[..., "subprocess.CompletedProcess[str]"]
# a shell's background jobs ignore Ctrl-C and hand that down; the program is tested as a terminal starts it
AS_IN_A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PROGRAM = [sys.executable, "-c", f"{AS_IN_A_TERMINAL}; import sys; from nasforge.cli import main; sys.exit(main())"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for latency profiles, so that each is measured once in all these tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "NASFORGE_CACHE": str(cache)}


@pytest.fixture(scope="session")
def start(environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts a command in a folder."""

    def begin(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )

    return begin


@pytest.fixture(scope="session")
def nasforge_in(start: Callable[..., subprocess.Popen[str]]) -> Nasforge:
    """Return a function that runs a command in a folder to its end."""

    def run(folder: Path, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        process = start(folder, *arguments)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"{arguments} ended with {process.returncode}: {err[-2000:]}"
        assert "Traceback" not in err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run
