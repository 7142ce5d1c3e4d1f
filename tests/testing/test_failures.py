"""A failure of a suite shows what was compared and where to look: run as an author of a plug-in runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FORGETFUL = '''
from dataclasses import dataclass, field

from nasforge import Proposal, Strategy
from nasforge.testing.strategies import StrategySuite
from nasforge.testing.trial import Trial


@dataclass
class Forgetful(Strategy):
    """Propose at random until it has heard three results, then the smallest; forgets how many it has heard."""

    heard: int = field(default=0, init=False)

    def setup(self, problem):
        super().setup(problem)
        self.heard = 0

    def ask(self, n, rng):
        space = self.problem.space
        return [Proposal(space.sample(rng) if self.heard < 3 else space.smallest()) for _ in range(n)]

    def tell(self, results):
        self.heard += len(results)

    def snapshot(self):
        return {"something": 1}


class TestForgetful(StrategySuite):
    name = "forgetful"

    def declare(self):
        from nasforge.testing.small_spaces import elastic_space

        return elastic_space()


Trial.make = lambda self: Forgetful()
'''


@pytest.mark.slow
def test_a_forgotten_state_is_shown_with_values_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "test_forgetful.py").write_text(FORGETFUL, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "snapshot", "test_forgetful.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is the first that differs: is something missing from `snapshot`" in done.stdout
    assert "assert Evaluation(" in done.stdout  # the values: asserts of the suites are rewritten
    assert "cannot be rewritten" not in done.stdout
