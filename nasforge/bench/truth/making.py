"""`make_truth`: a small space trained exhaustively, or a stated sample of it, with several seeds, in parallel.

The table is a function of what was asked for: neither the number of processes nor an interruption changes it, but for
the seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

from nasforge.bench.bench_folder import BenchFolder
from nasforge.bench.truth.asked import ALL_CORES, Asked
from nasforge.bench.truth.order import order_of
from nasforge.errors import UsageError
from nasforge.evaluate.truth_table import TruthTable
from nasforge.run.atomic import write_text
from nasforge.run.progress import Listener, Silent
from nasforge.run.resumable import ResumableInterrupt
from nasforge.space import Architecture, SearchSpace
from nasforge.tasks import DataSource

NETWORKS: Final = "networks"
FILE: Final = "truth.json"


@final
class TruthInterrupted(ResumableInterrupt):
    """The making of a truth table was stopped; `command` carries it on."""


def make_truth(
    space: str | SearchSpace,
    data: str | DataSource = "digits",
    *,
    space_options: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    sample: int | None = None,
    architectures: Sequence[Architecture] | None = None,
    seeds: int | Sequence[int] = 2,
    workers: int = ALL_CORES,
    out: str | Path | None = None,
    table: str | Path | None = None,
    command: str | None = None,
    listener: Listener | None = None,
) -> TruthTable:
    """Train the networks of a space alone, each with every seed, and write the table.

    Networks that `out` holds already are not trained again, so the same call carries on what was interrupted; two
    architectures of one `network_id` are trained once.

    Args:
        space: a name, or a search space made for the data; only a named one can be searched as a suite.
        data: `name` or `name:argument`, or a data source.
        space_options: of a named space.
        training: fields of the training configuration, `recipe`, and `steps` in the place of `epochs`.
        data_options: size, classes, limit, ...
        sample: train so many networks, drawn uniformly over architectures; all without.
        architectures: just these, in their order, in the place of all.
        seeds: how many trainings of each network, or their seeds; of weights and batches, never of the data.
        workers: processes; 0 stands for one on every core.
        out: folder, which keeps every training; a new one below `benches` without.
        table: where the table is written; `truth.json` in the folder without.
        command: recorded as what made the table, in the place of the command of this process.
        listener: hears of progress.

    Raises:
        UsageError: something asked for does not exist or does not fit.
        IncompatibleError: the training asks for what the space has no place for.
        RunFolderError: the folder is in use, or holds something else.
        TruthInterrupted: it was stopped; it can be carried on.
    """
    given = None if architectures is None else tuple(architectures)
    asked = Asked(space, data, space_options or {}, training or {}, data_options or {}, sample, seeds, command, given)
    told = listener or Silent()
    if table is not None and not Path(table).parent.is_dir():
        raise UsageError(
            f"table was given '{table}', and the folder '{Path(table).parent}' does not exist; make it first."
        )
    order = order_of(asked)
    processes = _workers(workers)
    with BenchFolder(out, NETWORKS) as folder:
        told.opened(folder.path)
        told.note(order.said())
        try:
            made = order.carried_out(folder, processes, told)
        except KeyboardInterrupt:
            raise TruthInterrupted(asked.text(workers, folder.path, table)) from None
        made = replace(made, about={**made.about, "command": asked.text(table=table)})
        write_text(folder.path / FILE, made.to_text())
        if table is not None:
            write_text(table, made.to_text())
        return made


def _workers(given: int) -> int:
    if given < 0:
        raise UsageError(f"workers was given {given}; expected at least one, or 0 for all cores.")
    if given != ALL_CORES:
        return given
    from joblib import cpu_count

    return int(cpu_count())
