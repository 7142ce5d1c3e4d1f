"""Suites `nb201-cifar10` and `nb201-cifar100`: feedback is the accuracy on valid of one training of three.

Latency was measured on other devices by the authors of HELP (Lee et al. 2021) and of HW-NAS-Bench (Li et al. 2021),
zero-cost scores by those of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022), all for the networks of CIFAR-10.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nasforge.bench.suites.suite import LATENCY, Suite, TabulatedScore
from nasforge.errors import DataError, unknown_name_sentence
from nasforge.evaluate.published import data_file, read_columns
from nasforge.evaluate.published import nb201 as published
from nasforge.evaluate.tabular import Decisions

HELP: Final = "nb201/latency.npz"
HW_NAS_BENCH: Final = "nb201/hwnasbench.npz"
SCORES: Final = "nb201/zerocost.npz"
_MEASURED: Final = "_latency__cifar10"


def nb201_cifar10(device: str | None = None, scores: bool = True) -> Suite:
    """Return NAS-Bench-201 on CIFAR-10.

    Args:
        device: whose measured latency is the metric `latency_ms`, such as `1080ti_1`; without, there is none.
        scores: whether strategies get the zero-cost scores of the networks, which 9,445 of them have.

    Raises:
        DataError: a table is not on this machine, or is damaged, or the device is unknown.
    """
    return _suite("cifar10", device, scores)


def nb201_cifar100(device: str | None = None, scores: bool = True) -> Suite:
    """Return NAS-Bench-201 on CIFAR-100.

    Args:
        device: whose measured latency is the metric `latency_ms`, such as `1080ti_1`, of the networks of CIFAR-10.
        scores: whether strategies get the zero-cost scores of the networks, computed on CIFAR-10.

    Raises:
        DataError: a table is not on this machine, or is damaged, or the device is unknown.
    """
    return _suite("cifar100", device, scores)


def _suite(dataset: str, device: str | None, scores: bool) -> Suite:
    table = published.nb201(dataset)
    rows = _rows(table.space.choices[0].labels)
    files = [data_file(published.FILE)]
    measured = {}
    if device is not None:
        file, values = _latency(device)
        files.append(data_file(file))
        measured[LATENCY] = dict(zip(rows, values.astype(float).tolist(), strict=True))
    if scores:
        files.append(_scores_file())
    return Suite(
        name=f"nb201-{dataset}",
        table=table,
        measured=measured,
        device=device,
        scores=_scores(rows) if scores else {},
        files=tuple(files),
    )


def _rows(labels: tuple[str, ...]) -> list[Decisions]:
    """Return the decisions of the benchmark's rows, which all its files share."""
    columns = read_columns(published.FILE, ("ops", "ops_names"))
    return list(map(tuple, published.decisions_of(columns, labels).tolist()))


def _latency(device: str) -> tuple[str, npt.NDArray[Any]]:
    """Return the file and the latencies of a device in ms; NaN where it cannot run a network.

    Raises:
        DataError: no file has the device.
    """
    known: dict[str, tuple[str, npt.NDArray[Any]]] = {}
    for file in (HELP, HW_NAS_BENCH):
        columns = read_columns(file)
        suffix = _MEASURED if file == HW_NAS_BENCH else ""
        known |= {key.removesuffix(suffix): (file, columns[key]) for key in columns if key.endswith(suffix)}
    if device not in known:
        raise DataError(unknown_name_sentence("device of nb201", device, known))
    file, values = known[device]
    return file, np.where(values > 0, values, np.nan)


def _scores_file() -> Any:
    try:
        return data_file(SCORES)
    except DataError as error:
        raise DataError(f"{error} Or leave the zero-cost scores out with scores=false.") from error


def _scores(rows: list[Decisions]) -> dict[str, TabulatedScore]:
    columns = read_columns(SCORES)
    return {
        key.partition("__")[0]: TabulatedScore(dict(zip(rows, columns[key].astype(float).tolist(), strict=True)))
        for key in sorted(columns)
    }
