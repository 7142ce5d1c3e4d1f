"""Spaces of the suites are of use where no pytest is installed, as the page on strategies has them."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name == "pytest":
            raise ModuleNotFoundError("No module named 'pytest'")
sys.meta_path.insert(0, Refusing())
import nasforge.testing.spaces
from nasforge.testing.small_spaces import elastic_space
print(elastic_space().name)
"""


def test_small_spaces_and_the_suite_of_spaces_need_no_pytest() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
