"""Suite `nats_sss`: widths of NATS-Bench on CIFAR-10; its table holds one accuracy, so feedback is free of noise."""

from __future__ import annotations

from nasforge.bench.suites.suite import Suite
from nasforge.evaluate.published import data_file
from nasforge.evaluate.published import nats_sss as published


def nats_sss() -> Suite:
    """Return the size space of NATS-Bench on CIFAR-10.

    Raises:
        DataError: the table is not on this machine, or is damaged.
    """
    return Suite("nats_sss", published.nats_sss(), files=(data_file(published.FILE),))
