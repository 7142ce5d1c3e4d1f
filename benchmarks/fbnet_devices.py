"""How well a device is learnt from whole networks: FBNet on a Pixel 3 and on a Xeon Gold 6226, from HELP's table.

    NASFORGE_DATA=DIR python benchmarks/fbnet_devices.py [--quick]

20, 50 and 100 networks are drawn at random, a profile is fitted to their latencies as `nasforge profile
--from-measurements` does it, and all other networks of the table are predicted. Figures are means over the draws;
Spearman comes with a 95 % interval over draws. "MACs" is a line through MACs, fitted to the same networks. "One-hot
blocks" says how far any sum over places can come: fitted to 4,000 networks, judged on the other 1,000. The Pixel 3
column is such a sum itself (nothing is left of it), so only the Xeon's shows the noise of a device.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
from fbnet import FBNetTable, read_table
from record import record
from scipy import stats

from nasforge.hardware.kernel import network_kernels
from nasforge.hardware.whole_network import Nodes, compared, cross_validate, fit_networks

Array = npt.NDArray[np.float64]
DEVICES = {"pixel3": "Pixel 3", "gold_6226": "Xeon Gold 6226"}
COUNTS = (20, 50, 100)
MEASURES = ("within_5_percent", "within_10_percent", "rmspe", "explained_variance")
CEILING = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three draws instead of twenty")
    quick = parser.parse_args().quick
    draws = 3 if quick else 20
    table = read_table()
    macs = table.space.cost("macs").batch(table.decisions)
    rows: list[list[object]] = []
    singles = {}
    for column, device in DEVICES.items():
        truth = table.latency_ms[column]
        for count in COUNTS:
            found = [learnt(table, truth, count, seed) for seed in range(draws)]
            lines = [line(macs, truth, count, seed) for seed in range(draws)]
            rows.append([device, count, "profile", *summary([each["held_out"] for each in found])])
            rows.append([device, count, "MACs", *summary(lines)])
            singles[f"{column} from {count}"] = found
        rows.append([device, CEILING, "one-hot blocks", *summary([ceiling(table, truth)])])
    measures = [name.replace("_", " ").replace("percent", "%") for name in MEASURES]
    header = ["device", "networks", "predicted by", "Spearman", "95 % interval", *measures]
    details = {"draws": draws, "of": len(macs), "source": "latency table of HELP", "singles": singles}
    record("fbnet_devices_quick" if quick else "fbnet_devices", header, rows, details)


def learnt(table: FBNetTable, truth: Array, count: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the error on all other networks, and what cross-validation inside the given ones said of it."""
    given, other = draw(len(truth), count, seed)
    networks: list[Nodes] = [network_kernels(table.space.lower(table.architecture(row))) for row in given]
    fit = fit_networks(networks, truth[given].tolist())
    guess = fit.cost(table.space).batch(table.decisions[other])
    inside = cross_validate(networks, truth[given].tolist())
    return {"held_out": compared(guess, truth[other]), "cross_validated": inside}


def line(values: Array, truth: Array, count: int, seed: int) -> dict[str, float]:
    given, other = draw(len(truth), count, seed)
    columns = np.column_stack([np.ones(len(values)), values / values.mean()])
    return compared(columns[other] @ relative_fit(columns[given], truth[given]), truth[other])


def ceiling(table: FBNetTable, truth: Array) -> dict[str, float]:
    given, other = draw(len(truth), CEILING, 0)
    one_hot = np.eye(9)[table.decisions.astype(np.intp)].reshape(len(truth), -1)
    return compared(one_hot[other] @ relative_fit(one_hot[given], truth[given]), truth[other])


def relative_fit(columns: Array, truth: Array) -> Array:
    solution: Array = np.linalg.lstsq(columns / truth[:, None], np.ones(len(truth)), rcond=1e-9)[0]
    return solution


def draw(total: int, count: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    order = np.random.default_rng(seed).permutation(total)
    return order[:count], order[count:]


def summary(found: list[dict[str, float]]) -> list[object]:
    """Return mean and interval of Spearman, and means of the rest."""
    ranks = [each["spearman"] for each in found]
    means: list[object] = [float(np.mean([each[name] for each in found])) for name in MEASURES]
    return [f"{np.mean(ranks):.4f}", interval(ranks), *means]


def interval(values: list[float]) -> str:
    if len(values) < 2:
        return "one draw"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{np.mean(values) - half:.4f} to {np.mean(values) + half:.4f}"


if __name__ == "__main__":
    main()
