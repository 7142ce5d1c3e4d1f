"""Measuring latency on the nodes of a Ray cluster that are the target, alone on their node."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nasforge.errors import TargetError, UsageError
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Progress, Target

WAIT_SECONDS: Final = 60.0


@final
class RemoteTarget(Target):
    """A target on a labelled node: whatever it measures has all processors of the node to itself.

    Args:
        target: what measures; it is sent to the node.
        label: custom resource of the nodes that are this target.
        note: hears where is measured, and what it waits for.

    Raises:
        UsageError: no node has the label.
    """

    def __init__(self, target: Target, label: str, note: Callable[[str], Any]) -> None:
        """Look for a node."""
        self._target, self._label, self._note = target, label, note
        self.name, self.precision = target.name, target.precision  # type: ignore[misc]  # those of the target it is
        self._node()

    def _node(self) -> dict[str, Any]:
        """Return the labelled node to measure on: the same one as long as it lives."""
        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # ray has no types here
        labelled = [node for node in nodes if node["Alive"] and node["Resources"].get(self._label, 0.0) >= 1]
        if not labelled:
            raise UsageError(
                f"no node of the cluster has the resource '{self._label}', which marks where target '{self.name}' is "
                f"measured; start one by `ray start --resources '{{\"{self._label}\": 1}}'`, name another as "
                "engine.measure_on, or measure on this machine with engine.measure_on=here."
            )
        return min(labelled, key=lambda node: str(node["NodeManagerAddress"]) + str(node["NodeID"]))

    def _alone(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function on the node while nothing else of the cluster runs there."""
        node = self._node()
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        remote: Any = ray.remote(function)
        processors, cards = node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)
        reference = remote.options(
            num_cpus=processors, num_gpus=cards, resources={self._label: 1}, scheduling_strategy=strategy, max_retries=2
        ).remote(*arguments)
        try:
            if not ray.wait([reference], timeout=WAIT_SECONDS)[0]:
                self._note(f"measuring on node {node['NodeManagerAddress']}, once nothing else runs there.")
            return ray.get(reference)
        except exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except exceptions.RayError as error:
            raise TargetError(
                f"node {node['NodeManagerAddress']} was lost while it measured ({type(error).__name__}); go on with "
                "`nasforge resume` when a node with the same resource is there."
            ) from error

    def available(self) -> str | None:
        """Return None where the node can measure, else its reason."""
        reason: str | None = self._alone(_available, self._target)
        return reason

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return the predictor of the node's profile, which it measures where it has none."""
        found: LatencyPredictor = self._alone(_predictor, self._target, space)
        return found

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure float32 ONNX files on the node."""
        contents = [Path(path).read_bytes() for path in paths]
        found: list[Measurement] = self._alone(_measure, self._target, contents)
        return found

    def measure_beside(self, path: str | Path, float_file: str | Path) -> tuple[Measurement, Measurement | None]:
        """Measure a delivered file and the float32 file it was made from on the node."""
        contents = [Path(each).read_bytes() for each in (path, float_file)]
        found: tuple[Measurement, Measurement | None] = self._alone(_measure_beside, self._target, contents)
        return found


def _available(target: Target) -> str | None:
    return target.available()


def _predictor(target: Target, space: SearchSpace) -> LatencyPredictor:
    return target.predictor(space)


def _measure(target: Target, contents: Sequence[bytes]) -> list[Measurement]:
    with _files(contents) as paths:
        return target.measure_many(paths)


def _measure_beside(target: Target, contents: Sequence[bytes]) -> tuple[Measurement, Measurement | None]:
    with _files(contents) as (path, float_file):
        return target.measure_beside(path, float_file)


@contextmanager
def _files(contents: Sequence[bytes]) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        paths = [Path(folder) / f"{number}.onnx" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        yield paths
