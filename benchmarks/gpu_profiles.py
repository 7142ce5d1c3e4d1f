"""Fits the kernel models of two GPUs to published latencies, and says how well they predict networks held out.

    NASFORGE_DATA=DIR python benchmarks/gpu_profiles.py [--quick] [--write]

Measurements are HELP's: FBNet's space (5,000 networks, batch 1, 32, 64) and NAS-Bench-201 (all cells, batch 1, 32,
256), both in PyTorch, layer by layer. One model for each card is fitted to all six sittings at once, on FITTED networks
of each table; every other network is held out. Each sitting has a factor on dispatch of its own ("own host"), which a
user's host has not: "as shipped" is without it. FBNet's latencies spread by 6 to 12 % only, so shares within 10 % say
little there; beside them stand the spread, and the Spearman of the least squares of a free coefficient for each choice
and option, each fifth of the table predicted by the other four: little more can be had from a sum over the choices.
`--write` puts the coefficients into `hardware_profiles/`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import fbnet
import nb201_cells
import numpy as np
from numpy.typing import NDArray
from record import ROOT, command, record
from record import table as markdown
from scipy import stats

from nasforge.hardware import roofline
from nasforge.hardware.card_profile import CardProfile, file_name
from nasforge.hardware.kernel_fit import KernelFit, Readings, accuracy, fit_kernel_model, networks_of
from nasforge.hardware.kernel_model import KernelModel
from nasforge.space import SearchSpace

FITTED: Final = 1000
SEED: Final = 4
RUNTIME: Final = "PyTorch, layer by layer (nothing fused), float32"
CARDS: Final = tuple(nb201_cells.CARDS)
HEADER: Final = (
    "card", "table", "batch", "held out", "Spearman", "explained variance", "within 5 %", "within 10 %", "RMSPE",
    "spread of the table", "Spearman as shipped", "RMSPE as shipped", "Spearman, free coefficients", "of the roofline",
    "of MACs",
)  # fmt: skip
README_HEADER: Final = (
    "profile", "table", "batch", "held out", "Spearman", "explained variance", "within 5 %", "within 10 %", "RMSPE",
    "spread", "Spearman as shipped", "RMSPE as shipped", "Spearman, free coefficients",
)  # fmt: skip
PROFILES: Final = ROOT / "hardware_profiles"
TRANSFER_HEADER: Final = (
    "card", "fitted on", "predicted", "batch", "networks", "Spearman", "within 10 %", "RMSPE", "bias",
    "spread of the table",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Networks of one space, and their latencies by card and batch."""

    name: str
    origin: str
    space: SearchSpace
    rows: NDArray[np.int16]
    latency_ms: Mapping[tuple[str, int], NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 networks of each table fitted")
    parser.add_argument("--write", action="store_true", help="write hardware_profiles/gpu-*.json")
    given = parser.parse_args()
    if given.quick and given.write:
        parser.error("--quick fits too few networks to be shipped; leave it or --write away")
    tables, rows, details, profiles = [fbnet_table(), nb201_table()], [], {}, []
    for card in CARDS:
        profile = fitted(card, tables, 60 if given.quick else FITTED)
        rows += [row(profile, each) for each in profile.validation]
        details[card] = profile.to_json()
        profiles.append(profile)
    end = "_quick" if given.quick else ""
    facts = {"seed": SEED, "source": "latency tables of HELP"}
    record(f"gpu_profiles{end}", HEADER, rows, {**facts, "profiles": details})
    pairs = [(tables[0], tables[1]), (tables[1], tables[0])]
    moved = [each for card in CARDS for pair in pairs for each in transfer(card, *pair, 60 if given.quick else FITTED)]
    record(f"gpu_profiles_transfer{end}", TRANSFER_HEADER, moved, facts)
    if given.write:
        write(profiles)


def write(profiles: list[CardProfile]) -> None:
    """Write the files of the package, and the table of its README between its marks."""
    lines = []
    for profile in profiles:
        name = file_name(profile.card)
        (PROFILES / name).write_text(json.dumps(profile.to_json(), indent=1) + "\n", encoding="utf-8")
        lines += [[f"`{name}`", *cells] for cells in map(readme_cells, profile.validation)]
    page = (PROFILES / "README.md").read_text(encoding="utf-8")
    between = f"\\1\n{markdown(README_HEADER, lines)}\n\n\\2"
    page = re.sub(r"(<!-- fitted -->\n).*?(<!-- end -->)", between, page, flags=re.DOTALL)
    (PROFILES / "README.md").write_text(page, encoding="utf-8")


def readme_cells(row: Mapping[str, Any]) -> list[str]:
    own, shipped = row["own_host"], row["as_shipped"]
    shares = [f"{own[key]:.1%}" for key in ("within_5_percent", "within_10_percent", "rmspe", "spread")]
    return [
        row["table"], str(row["batch"]), f"{own['n']:,.0f}", f"{own['spearman']:.3f}", f"{own['explained']:.3f}",
        *shares, f"{shipped['spearman']:.3f}", f"{shipped['rmspe']:.1%}", f"{row['spearman_of_free_coefficients']:.3f}",
    ]  # fmt: skip


def fbnet_table() -> Table:
    table = fbnet.read_table()
    columns = {
        (card, batch): table.latency_ms[f"{column}_{batch}"]
        for card, column in nb201_cells.CARDS.items()
        for batch in (1, 32, 64)
    }
    origin = "HELP (Lee et al. 2021): 5,000 FBNet networks at 32 pixels"
    return Table("fbnet", origin, table.space, table.decisions, columns)


def nb201_table() -> Table:
    space = nb201_cells.measured_space()
    rows, columns = nb201_cells.load(space)
    return Table("nb201", "HELP (Lee et al. 2021): all 15,625 NAS-Bench-201 cells", space, rows, columns)


def fitted(card: str, tables: list[Table], count: int) -> CardProfile:
    """Fit all tables together and validate on what is left of them."""
    orders = {table.name: np.random.default_rng(SEED).permutation(len(table.rows)) for table in tables}
    readings = [each for table in tables for each in sittings(table, card, orders[table.name][:count])]
    fit = fit_kernel_model(roofline.card(card), readings)
    held_out = [each for table in tables for each in validation(table, card, fit, orders[table.name], count)]
    sources = [
        {
            "table": table.name, "batch": batch, "networks": count, "origin": table.origin,
            "launch_factor": fit.launch_factors[f"{table.name}, batch {batch}"],
        }
        for table in tables for batch in batches(table, card)
    ]  # fmt: skip
    return CardProfile(
        card, fit.model, RUNTIME, sources, held_out, command(), datetime.now(tz=UTC).isoformat(timespec="seconds")
    )


def batches(table: Table, card: str) -> list[int]:
    return [batch for name, batch in table.latency_ms if name == card]


def sittings(table: Table, card: str, chosen: NDArray[np.int64]) -> Iterator[Readings]:
    networks = networks_of(table.space.lower(table.space.from_decisions(row)) for row in table.rows[chosen])
    for batch in batches(table, card):
        yield Readings(f"{table.name}, batch {batch}", networks, batch, table.latency_ms[card, batch][chosen])


def validation(
    table: Table, card: str, fit: KernelFit, order: NDArray[np.int64], count: int
) -> Iterator[dict[str, Any]]:
    test = order[count:]
    macs, device = table.space.cost("macs").batch(table.rows[test]), roofline.card(card)
    for batch in batches(table, card):
        measured = table.latency_ms[card, batch]
        factor = fit.launch_factors[f"{table.name}, batch {batch}"]
        yield {
            "table": table.name,
            "batch": batch,
            "as_shipped": accuracy(predicted(table, test, fit.model, batch, 1.0), measured[test]),
            "own_host": accuracy(predicted(table, test, fit.model, batch, factor), measured[test]),
            "spearman_of_free_coefficients": free_coefficients(table, measured, order, count),
            "correlation_of_neighbouring_residuals": neighbours(table, card, fit, batch),
            "spearman_of_roofline": spearman(roofline_ms(table, test, device, batch), measured[test]),
            "spearman_of_macs": spearman(macs, measured[test]),
        }


def predicted(
    table: Table, chosen: NDArray[np.int64], model: KernelModel, batch: int, factor: float
) -> NDArray[np.float64]:
    cost = table.space.additive("latency_ms_predicted", lambda op, types: model.node_ms(op, types, batch, factor))
    return cost.batch(table.rows[chosen]) + factor * model.call_ms


def neighbours(table: Table, card: str, fit: KernelFit, batch: int) -> float:
    """Return how relative errors correlate from one row of the table to the next.

    FBNet's rows are independent draws: what correlates there is the card's or host's state while it was measured.
    """
    factor, measured = fit.launch_factors[f"{table.name}, batch {batch}"], table.latency_ms[card, batch]
    error = predicted(table, np.arange(len(table.rows)), fit.model, batch, factor) / measured - 1.0
    return float(np.corrcoef(error[:-1], error[1:])[0, 1])


def transfer(card: str, source: Table, other: Table, count: int) -> Iterator[list[Any]]:
    """Fit one table only, and predict the other: a space of which nothing was measured."""
    chosen, unseen = (
        np.random.default_rng(SEED).permutation(len(table.rows))[:size]
        for table, size in ((source, count), (other, 5000))
    )
    fit = fit_kernel_model(roofline.card(card), list(sittings(source, card, chosen)))
    for batch in batches(other, card):
        found = accuracy(predicted(other, unseen, fit.model, batch, 1.0), other.latency_ms[card, batch][unseen])
        figures = [found[key] for key in ("spearman", "within_10_percent", "rmspe", "bias", "spread")]
        yield [roofline.card(card).name, source.name, other.name, batch, round(found["n"]), *figures]


def roofline_ms(table: Table, chosen: NDArray[np.int64], device: roofline.Card, batch: int) -> NDArray[np.float64]:
    cost = table.space.additive("ms", lambda op, types: roofline.node_ms(device, op, types, batch, fused=False))
    return cost.batch(table.rows[chosen])


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(stats.spearmanr(first, second).statistic)


def free_coefficients(table: Table, measured: NDArray[np.float64], order: NDArray[np.int64], count: int) -> float:
    """Return the Spearman of the held-out rows, each predicted by the least squares of the other four fifths."""
    columns = [np.eye(len(choice.options))[table.rows[:, place]] for place, choice in enumerate(table.space.choices)]
    one_hot = np.concatenate([np.ones((len(measured), 1)), *columns], axis=1)
    guesses = np.empty(len(measured))
    for fold in np.array_split(order, 5):
        others = np.setdiff1d(order, fold)
        rows = one_hot[others] / measured[others, None]
        guesses[fold] = one_hot[fold] @ np.linalg.lstsq(rows, np.ones(len(others)), rcond=None)[0]
    return spearman(guesses[order[count:]], measured[order[count:]])


def row(profile: CardProfile, found: Mapping[str, Any]) -> list[Any]:
    own, shipped = found["own_host"], found["as_shipped"]
    figures = [
        own[key] for key in ("spearman", "explained", "within_5_percent", "within_10_percent", "rmspe", "spread")
    ]
    return [
        profile.model.card.name, found["table"], found["batch"], round(own["n"]), *figures, shipped["spearman"],
        shipped["rmspe"], *(found[f"spearman_of_{other}"] for other in ("free_coefficients", "roofline", "macs")),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
