"""Suite `nasbench_macro`: 6,561 networks on CIFAR-10; feedback is one of three test accuracies, truth their mean.

The benchmark has no accuracies on held out training data, so the feedback is a noisy look at the truth itself.
"""

from __future__ import annotations

from nasforge.bench.suites.suite import Suite
from nasforge.evaluate.published import data_file
from nasforge.evaluate.published import nasbench_macro as published


def nasbench_macro() -> Suite:
    """Return NAS-Bench-Macro on CIFAR-10.

    Raises:
        DataError: the table is not on this machine, or is damaged.
    """
    return Suite("nasbench_macro", published.nasbench_macro(), files=(data_file(published.FILE),))
