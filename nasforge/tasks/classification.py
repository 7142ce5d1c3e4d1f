"""`classification`: cross-entropy, accuracy and negative log-likelihood."""

from __future__ import annotations

from typing import Any, Final, final

import torch
from torch.nn import functional


@final
class Classification:
    """One class per image. Several heads (an ensemble) are trained by the mean of their losses."""

    name: Final = "classification"

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Return the cross-entropy of logits (N, classes), or its mean over a list of heads."""
        heads = outputs if isinstance(outputs, list) else [outputs]
        losses = [functional.cross_entropy(head, targets, label_smoothing=smoothing) for head in heads]
        return torch.stack(losses).mean() if len(losses) > 1 else losses[0]

    def metrics(self, outputs: Any, targets: torch.Tensor) -> dict[str, float]:
        """Return `accuracy` (0..1) and `nll` (nats); heads are averaged first."""
        logits = torch.stack(outputs).mean(dim=0) if isinstance(outputs, list) else outputs
        with torch.no_grad():
            nll = functional.cross_entropy(logits.float(), targets)
            accuracy = (logits.argmax(dim=1) == targets).float().mean()
        return {"accuracy": float(accuracy), "nll": float(nll)}
