"""Profiling this machine for a space, from names and options as the command line gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasforge.errors import UsageError
from nasforge.run.data import load_source
from nasforge.run.options import make_space, make_target
from nasforge.targets.base import Progress

if TYPE_CHECKING:
    from nasforge.hardware.profile import Profile
    from nasforge.space import SearchSpace


def make_profile(
    target: str = "cpu",
    space: str | SearchSpace = "mbconv",
    *,
    space_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    data: str | None = None,
    resolution: int | None = None,
    classes: int | None = None,
    threads: int = 1,
    batch: int = 1,
    out: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Path, Profile]:
    """Measure a profile of this machine, with its error on networks that took no part in fitting.

    Args:
        target: its name.
        space: its name, or an object.
        space_options: by name, such as width.
        target_options: by name, such as protocol.
        data: a data set whose images and classes the space is made for.
        resolution: height and width in the place of `data`; 32 without either.
        classes: their number, in the place of `data`.
        threads: of the runtime.
        batch: images at once.
        out: the file; where searches find it without.
        progress: hears of done and total.

    Returns:
        The file and the profile.

    Raises:
        UsageError: unknown names or options.
        TargetError: the target cannot be measured on this machine.
        ProfileError: the machine is too noisy, or the file cannot be written.
    """
    timed = {key: value for key, value in (("threads", threads), ("batch", batch)) if value != 1}
    device = make_target(target, {**timed, **(target_options or {})})
    return device.make_profile(_space(space, space_options or {}, data, resolution, classes), out, progress)


def _space(
    space: str | SearchSpace, options: Mapping[str, Any], data: str | None, resolution: int | None, classes: int | None
) -> SearchSpace:
    if not isinstance(space, str):
        return space
    if data is not None:
        if resolution is not None or classes is not None:
            raise UsageError("--data was given with --resolution or --classes; give one of them.")
        source = load_source(data, {}, 0)
        return make_space(space, options, tuple(source.input_shape), len(source.classes))
    size = 32 if resolution is None else resolution
    return make_space(space, options, (3, size, size), 10 if classes is None else classes)
