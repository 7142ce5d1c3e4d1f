"""Recipes: the constants that published trainings used, by name.

A recipe is a training configuration; every field that is given beside it takes the place of the recipe's. Lengths and
learning rates of ImageNet are those of the released trainings on 1,281,167 images with 50 or 100 replicas: divide
`batch_size` and `lr` alike for one machine. Where the page of a network says nothing (Nesterov momentum 0.9, shift and
mirror), nasforge's own serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.training.config import TrainConfig

IMAGENET_IMAGES: Final = 1_281_167
NASNET_EPOCHS: Final = 250_000 * 1600 / IMAGENET_IMAGES
"""Of the ImageNet networks: 250,000 steps of 1,600 images."""

_CIFAR: Final = TrainConfig(
    epochs=600.0, batch_size=32, lr=0.025, weight_decay=5e-4, warmup=0.0, clip=5.0, drop_path_keep=0.6,
    drop_path_ramp="both", auxiliary_weight=0.4,
)  # fmt: skip
_MOBILE: Final = TrainConfig(
    epochs=NASNET_EPOCHS, batch_size=32 * 50, lr=0.04 * 50, weight_decay=4e-5, warmup=0.0, schedule="steps",
    decay=0.97, decay_every=2.4 / NASNET_EPOCHS, clip=10.0, dropout=0.5, label_smoothing=0.1, auxiliary_weight=0.4,
)  # fmt: skip

RECIPES: Final[Mapping[str, TrainConfig]] = {
    "nasnet_cifar": _CIFAR,
    "nasnet_cifar_paper": replace(_CIFAR, drop_path_ramp="time"),
    "nasnet_mobile": _MOBILE,
    "nasnet_large": replace(
        _MOBILE, batch_size=16 * 100, lr=0.015 * 100, weight_decay=5e-5, drop_path_keep=0.7, drop_path_ramp="both"
    ),
    "meal_v2": TrainConfig(
        epochs=180.0, batch_size=512, lr=0.01, weight_decay=0.0, warmup=0.0, schedule="steps", decay=0.1,
        decay_every=100 / 180, clip=0.0,
    ),
}  # fmt: skip
"""`nasnet_cifar`, `nasnet_mobile`, `nasnet_large`: the released code of NASNet (Zoph et al. 2018), whose drop-path
ramp grows over time and depth; `nasnet_cifar_paper`: the ramp of the paper's text, over time alone. `meal_v2`: the soft
labels of Shen & Savvides 2020, for a student that starts from its trained weights and follows teachers."""


def expanded(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return training settings with the fields of their `recipe` where they give none, and without its name.

    >>> expanded({"recipe": "meal_v2", "epochs": 3})["epochs"], expanded({"lr": 0.2})
    (3, {'lr': 0.2})

    Raises:
        UsageError: an unknown recipe; the nearest is named.
    """
    given = {key: value for key, value in training.items() if key != "recipe"}
    name = training.get("recipe")
    if name is None:
        return given
    if name not in RECIPES:
        raise UsageError(unknown_name_sentence("training.recipe", str(name), RECIPES))
    return {**asdict(RECIPES[name]), **given}
