"""Networks as ONNX files that run without nasforge, with class names and preprocessing in their metadata.

torch's TorchScript exporter is used on purpose: the newer one takes ten times as long and writes global
pooling as a ReduceMean, which has no INT8 kernel.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import onnx
import torch
from torch import nn

from nasforge.errors import EvaluationError

OPSET: Final = 18
Shapes = tuple[int, ...] | Mapping[str, tuple[int, ...]]


def export_onnx(
    module: nn.Module,
    input_shape: Shapes,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    outputs: tuple[str, ...] = ("logits",),
) -> Path:
    """Write a network as ONNX (opset 18, batch axis free, BatchNorm folded).

    Args:
        module: takes one tensor, or several in the order of `input_shape`.
        input_shape: (C, H, W) of the input `image`, or shapes by input name.
        path: the file to write.
        metadata: texts for the file's `metadata_props`.
        outputs: names of the outputs.

    Raises:
        EvaluationError: torch cannot export the module.
    """
    shapes: dict[str, tuple[int, ...]] = (
        dict(input_shape) if isinstance(input_shape, Mapping) else {"image": tuple(input_shape)}
    )
    parameter = next(module.parameters(), None)
    dtype = parameter.dtype if parameter is not None else torch.float32
    device = parameter.device if parameter is not None else torch.device("cpu")
    examples = tuple(torch.zeros(1, *shape, dtype=dtype, device=device) for shape in shapes.values())
    mode = module.training
    module.eval()
    feed: Any = examples
    if len(shapes) > 1 and getattr(module, "plan", None) is not None:
        module = _Positional(module, tuple(shapes))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter announces its own age and traces shapes
            torch.onnx.export(
                module,
                feed,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(shapes),
                output_names=list(outputs),
                dynamic_axes={name: {0: "batch"} for name in (*shapes, *outputs)},
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise EvaluationError(f"the network cannot be exported to ONNX: {error}.") from error
    finally:
        module.train(mode)
    if metadata:
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.save(model, str(path))
    return Path(path)


@final
class _Positional(nn.Module):
    """Passes positional inputs to a network that takes them by name."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.network(dict(zip(self.names, inputs, strict=True)))


def metadata_of(path: str | Path) -> dict[str, str]:
    """Return the metadata texts of an ONNX file."""
    return {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}
