"""The conformance suite of targets: a subclass that names a target inherits every test.

    from nasforge.testing.targets import TargetSuite

    class TestMyTarget(TargetSuite):
        name = "my_target"

Predictions are checked over every architecture of a small space, measurements on two networks of very different size.
Where this machine cannot measure the target, the suite checks that it says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from abc import ABC
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from nasforge.build import build_network, export_onnx
from nasforge.errors import NasforgeError, TargetError
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.ops import Conv, GlobalPool, Linear, MBConv, Pool
from nasforge.run.options import make_target
from nasforge.space import Input, SearchSpace, choice, one_of, repeat
from nasforge.targets.base import Measurement, Target


@final
@dataclass(frozen=True, slots=True)
class Prediction:
    """What the suite looks at: the target, its predictor as built, and as built a second time."""

    target: Target
    space: SearchSpace
    predictor: LatencyPredictor
    again: LatencyPredictor
    progress: tuple[tuple[float, float], ...]


class TargetSuite(ABC):
    """Tests that every target must pass.

    Attributes:
        name: the target's entry point.
        options: options of the target; where it takes a protocol, give it a short one.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    _built: ClassVar[dict[type, Prediction]] = {}
    _measured: ClassVar[dict[type, tuple[list[Measurement], list[str], list[str]]]] = {}

    def make(self) -> Target:
        """Return the target; override it for one that is not installed."""
        return make_target(self.name, self.options)

    def declare(self) -> SearchSpace:
        """Return the space to predict: small, with choices of width, kernel, operator and depth."""
        return small_space()

    def built(self) -> Prediction:
        """Return the predictor, built once for the class in a cache folder of its own."""
        found = TargetSuite._built.get(type(self))
        if found is None:
            space, heard = self.declare(), list[tuple[float, float]]()
            with own_cache():
                target = self.make()
                predictor = target.predictor(space, lambda done, total: heard.append((done, total)))
                again = self.make().predictor(self.declare())
            found = Prediction(target, space, predictor, again, tuple(heard))
            TargetSuite._built[type(self)] = found
        return found

    # Predictions

    def test_every_architecture_has_a_positive_latency(self) -> None:
        """No architecture of the space is left out, and none costs nothing."""
        found = self.built()
        architectures = list(found.space.enumerate())
        assert len(architectures) == found.space.size
        for architecture in architectures:
            latency_ms = found.predictor.cost(architecture)
            assert isinstance(latency_ms, float)
            assert np.isfinite(latency_ms)
            assert latency_ms > 0.0

    def test_batches_equal_single_predictions(self) -> None:
        """Many at once give what one by one gives."""
        found = self.built()
        architectures = list(found.space.enumerate())
        single = [found.predictor.cost(architecture) for architecture in architectures]
        batch = found.predictor.cost.batch(found.space.integers(architectures))
        assert batch.shape == (len(architectures),)
        np.testing.assert_allclose(batch, single, rtol=1e-9)

    def test_tables_add_up_to_the_prediction(self) -> None:
        """Where the cost is additive, its constant and tables say all of it."""
        found = self.built()
        cost = found.predictor.cost
        if not cost.tables:
            return
        for architecture in found.space.enumerate():
            rows = [max(option, 0) for option in architecture.decisions]
            total = cost.constant + sum(
                float(table.values[tuple(rows[axis] for axis in table.axes)]) for table in cost.tables
            )
            np.testing.assert_allclose(total, cost(architecture), rtol=1e-9)

    def test_predictions_tell_networks_apart(self) -> None:
        """The largest network is predicted slower than the smallest: the predictor is no constant."""
        found = self.built()
        smallest, largest = found.space.smallest(), found.space.largest()
        assert found.predictor.cost(largest) > found.predictor.cost(smallest)

    def test_the_same_architecture_has_the_same_prediction_in_another_run(self) -> None:
        """A second predictor, of a second target and a second declaration, agrees exactly (the profile is kept)."""
        found = self.built()
        rows = found.space.integers(list(found.space.enumerate()))
        assert found.again.cost.batch(rows).tolist() == found.predictor.cost.batch(rows).tolist()
        assert found.again.source == found.predictor.source

    def test_predictions_have_provenance(self) -> None:
        """The source is one line, the profile has a name, and the held-out error is complete where there is one."""
        predictor = self.built().predictor
        assert predictor.source.strip()
        assert "\n" not in predictor.source
        assert predictor.profile.strip()
        json.dumps({"validated": dict(predictor.validated), "details": dict(predictor.details)}, allow_nan=False)
        if predictor.validated:
            assert predictor.validated["n"] >= 1
            assert 0.0 <= predictor.validated["within_5_percent"] <= predictor.validated["within_10_percent"] <= 1.0
            assert predictor.validated["rmspe"] >= 0.0
            assert -1.0 <= predictor.validated["spearman"] <= 1.0

    def test_progress_goes_up_to_its_end(self) -> None:
        """Progress never falls, never passes its total, and ends there."""
        shares = [done / total for done, total in self.built().progress]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0

    # Measurements

    def test_a_target_says_whether_it_can_measure(self) -> None:
        """`available` is None or a reason; without it, measuring raises one sentence that holds the reason."""
        target = self.make()
        reason = target.available()
        if reason is None:
            return
        assert reason.strip()
        with tempfile.TemporaryDirectory() as folder:
            refusal = raised(target, write_networks(self.declare(), Path(folder))[0])
        assert isinstance(refusal, TargetError), f"target '{self.name}' cannot measure ({reason}) and gave {refusal!r}"
        assert reason in str(refusal)
        assert "\n" not in str(refusal)

    def measured(self) -> tuple[list[Measurement], list[str], list[str]] | None:
        """Return measurements of the smallest and the largest network, and the folder's content before and after.

        None where this machine cannot measure.
        """
        if self.make().available() is not None:
            return None
        if type(self) not in TargetSuite._measured:
            with tempfile.TemporaryDirectory() as name:
                paths = write_networks(self.declare(), Path(name))
                before = contents(Path(name))
                found = self.make().measure_many(paths)
                TargetSuite._measured[type(self)] = (found, before, contents(Path(name)))
        return TargetSuite._measured[type(self)]

    def test_measurements_are_positive_and_ordered(self) -> None:
        """Minimum <= p10 <= median, a spread that is not negative, and figures in the order of the files."""
        measured = self.measured()
        if measured is None:
            return
        small, large = measured[0]
        for each in (small, large):
            assert 0.0 < each.latency_ms <= each.p10_ms <= each.median_ms
            assert each.visits >= 1
            assert each.spread >= 0.0
            assert each.source.strip()
        assert large.latency_ms > small.latency_ms

    def test_measurements_are_plain_data(self) -> None:
        """They survive JSON, unchanged and without NaN."""
        measured = self.measured()
        for each in measured[0] if measured is not None else ():
            data = each.to_json()
            assert json.loads(json.dumps(data, allow_nan=False)) == data
            assert Measurement(**data) == each

    def test_measured_files_are_left_as_they_were(self) -> None:
        """No byte of them changes, and nothing is written beside them."""
        measured = self.measured()
        if measured is not None:
            assert measured[1] == measured[2]

    def test_a_file_that_is_no_network_is_refused(self) -> None:
        """With an error of nasforge's, in one sentence that names the file."""
        target = self.make()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "text.onnx"
            path.write_text("this is no network", encoding="utf-8")
            refusal = raised(target, path)
        assert isinstance(refusal, NasforgeError), f"a text file was measured, or gave {refusal!r}"
        assert target.available() is not None or "text.onnx" in str(refusal)


def raised(target: Target, path: Path) -> Exception | None:
    """Return what measuring a file raises."""
    try:
        target.measure(path)
    except Exception as error:  # noqa: BLE001 - the suite looks at whatever a plug-in raises
        return error
    return None


def small_space() -> SearchSpace:
    """Return a space of 32 architectures with a choice of width, kernel, operator and depth."""
    width = choice(8, 32, name="width")
    x = Conv(width, choice(1, 3, name="kernel"))(Input(3, 12, 12), name="stem")
    x = one_of([Pool("max", 2, 2)(x), Conv(width, 3, 2)(x)], name="down", labels=["pool", "conv"])
    x = repeat(lambda source, place: MBConv(width, 3, 2)(source), x, depth=choice(1, 2, name="depth"))
    x = Conv(choice(16, 64, name="mix"), 1)(x)
    return SearchSpace({"logits": Linear(4)(GlobalPool()(x))}, name="target_suite")


def write_networks(space: SearchSpace, folder: Path) -> list[Path]:
    """Write the smallest and the largest network of a space as ONNX."""
    paths = []
    for name, architecture in (("small", space.smallest()), ("large", space.largest())):
        network = build_network(space.lower(architecture), seed=0)
        paths.append(export_onnx(network, space.input_shapes, folder / f"{name}.onnx", {}))
    return paths


def contents(folder: Path) -> list[str]:
    """Return name and SHA-256 of every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]


@contextmanager
def own_cache() -> Iterator[Path]:
    """Keep profiles in an empty folder for a while."""
    before = os.environ.get("NASFORGE_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NASFORGE_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["NASFORGE_CACHE"]
            else:
                os.environ["NASFORGE_CACHE"] = before


__all__ = ["Prediction", "TargetSuite", "contents", "own_cache", "small_space", "write_networks"]
