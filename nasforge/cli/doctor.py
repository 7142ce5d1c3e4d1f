"""`nasforge doctor`: whether this machine and installation are fit, and what to do where they are not."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from typing import Annotated

import typer

from nasforge import registry
from nasforge.cli.output import print_json, print_text
from nasforge.errors import NasforgeError

LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "optuna", "ray", "hydra-core", "numpy", "scikit-learn")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Check Python, libraries, plug-ins, targets and the place for runs; exit code 1 where something is broken."""
    findings = [*_python(), *_libraries(), *_plugins(), *_targets(), *_profiles(), *_folder()]
    if as_json:
        print_json([{"check": check, "state": state, "detail": detail} for check, state, detail in findings])
    else:
        for check, state, detail in findings:
            print_text(f"{state:<6} {check:<28} {detail}")
    return 1 if any(state == "broken" for _, state, _ in findings) else 0


def _python() -> Iterator[tuple[str, str, str]]:
    fine = sys.version_info >= (3, 11)
    yield "python", "ok" if fine else "broken", f"{platform.python_version()} (3.11 or newer is needed)"
    yield "processors", "ok", f"{os.cpu_count()} on {platform.machine()}, {platform.system()}"


def _libraries() -> Iterator[tuple[str, str, str]]:
    for name in LIBRARIES:
        try:
            yield name, "ok", metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "broken", "not installed; run: pip install nasforge"


def _plugins() -> Iterator[tuple[str, str, str]]:
    for kind in registry.KINDS:
        for name, plugin in registry.installed(kind).items():
            try:
                plugin.load()
            except NasforgeError as error:
                yield f"{registry.SINGULAR[kind]} {name}", "broken", str(error)
            else:
                yield f"{registry.SINGULAR[kind]} {name}", "ok", plugin.distribution


def _targets() -> Iterator[tuple[str, str, str]]:
    for name, plugin in registry.installed("targets").items():
        try:
            target = plugin.load()()
            reason, caution = target.available(), target.caution
        except NasforgeError as error:
            reason, caution = str(error), ""
        detail = "measures on this machine" if reason is None else f"predicts only: {reason}"
        plain = reason is None and not caution
        yield f"measure {name}", "ok" if plain else "note", f"{detail}; {caution}" if caution else detail


def _profiles() -> Iterator[tuple[str, str, str]]:
    """Say of each profile, shipped, measured here or fitted, what it is of, and whether the cache can be written."""
    from nasforge.cli.list import describe_profiles
    from nasforge.hardware.device import this_cpu
    from nasforge.hardware.profile import cache_folder

    cpu, folder = this_cpu(), cache_folder()
    yield "processor", "ok", f"{cpu.model} ({', '.join(cpu.features) or 'no features of note'})"
    for name, described in describe_profiles().items():
        prefix = "" if name.startswith("profile:") else "profile "
        yield f"{prefix}{name}", "note" if described.startswith("damaged") else "ok", described
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            yield "profile folder", "ok", str(folder)
    except OSError as error:
        yield "profile folder", "note", f"{folder} cannot be written ({error.strerror}); set NASFORGE_CACHE"


def _folder() -> Iterator[tuple[str, str, str]]:
    try:
        with tempfile.TemporaryFile(dir="."):
            yield "working directory", "ok", "can be written: runs go to ./runs"
    except OSError as error:
        yield "working directory", "note", f"cannot be written ({error.strerror}); give --out"
