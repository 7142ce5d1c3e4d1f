"""Latency on a GPU that is not at hand: of a fitted profile where one ships for the card, else of the roofline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasforge.hardware import roofline
from nasforge.hardware.block_table import METRIC
from nasforge.hardware.card_profile import KIND, CardProfile, file_name, shipped_profile
from nasforge.hardware.cost import AdditiveCost, Cost, WalkCost
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.space import SearchSpace

_WORST = {"within_5_percent": min, "within_10_percent": min, "rmspe": max, "spearman": min, "explained": min}


def named_card_predictor(space: SearchSpace, card: str, batch: int, fused: bool | None) -> LatencyPredictor:
    """Return the prediction for a card by its short name.

    Args:
        space: what is predicted.
        card: short name, see `nasforge.hardware.roofline.CARDS`.
        batch: images at once.
        fused: whether normalisation and activation are part of the kernel before them. Fitted profiles are of
            networks run layer by layer, so True asks for the roofline; None takes the fitted profile if there is one.

    Raises:
        ProfileError: the profile that ships for the card is damaged.
        UsageError: unknown card.
    """
    profile = None if fused else shipped_profile(card)
    if profile is None:
        return _analytic(space, roofline.card(card), batch, fused is not False)
    return _fitted(space, profile, batch)


def _analytic(space: SearchSpace, device: roofline.Card, batch: int, fused: bool) -> LatencyPredictor:
    cost = space.additive(METRIC, lambda op, types: roofline.node_ms(device, op, types, batch, fused=fused))
    source = (
        f"analytic roofline of {device.name} at batch {batch}, from published peak figures; "
        "not measured, no validated error"
    )
    details = roofline.provenance(device, batch, fused=fused)
    return LatencyPredictor(cost, source, f"roofline:{device.name}", {}, details)


def _fitted(space: SearchSpace, profile: CardProfile, batch: int) -> LatencyPredictor:
    model = profile.model
    cost = space.additive(METRIC, lambda op, types: model.node_ms(op, types, batch))
    near = profile.nearest_batch(batch)
    rows = profile.rows_at(near)
    at = f"at batch {batch}" if near == batch else f"at batch {batch} by the model (validated at batch {near})"
    source = (
        f"kernel model of {model.card.name} fitted to published measurements, {at}, {profile.runtime}; networks held "
        f"out at batch {near}: {'; '.join(map(_sentence, rows))}; not measured here"
    )
    details = {
        "kind": KIND,
        "device": model.card.name,
        "batch": batch,
        "validated_batch": near,
        "runtime": profile.runtime,
        "fused": False,
        "held_out": [dict(row) for row in rows],
        "fitted_on": [dict(row) for row in profile.fitted_on],
        "created": profile.created,
        "command": profile.command,
        "sha256": profile.to_json()["sha256"],
    }
    return LatencyPredictor(_plus(cost, model.call_ms, space), source, file_name(profile.card), _worst(rows), details)


def _sentence(row: Mapping[str, Any]) -> str:
    found, host = row["as_shipped"], row["own_host"]
    return (
        f"{row['table']} Spearman {found['spearman']:.3f}, {found['within_10_percent']:.0%} of {found['n']:.0f} within "
        f"10 % ({host['within_10_percent']:.0%} if the host's speed were known; they spread by {found['spread']:.0%})"
    )


def _worst(rows: list[Mapping[str, Any]]) -> dict[str, float]:
    """Return the worst figure over the tables of a batch, as shipped, and the number of networks."""
    found = [row["as_shipped"] for row in rows]
    return {
        "n": float(sum(each["n"] for each in found)),
        **{name: float(worst(each[name] for each in found)) for name, worst in _WORST.items()},
    }


def _plus(cost: AdditiveCost | WalkCost, constant_ms: float, space: SearchSpace) -> Cost:
    if isinstance(cost, AdditiveCost):
        return cost.scaled(1.0, constant_ms)
    return WalkCost(METRIC, lambda architecture: cost(architecture) + constant_ms, space.fingerprint)
