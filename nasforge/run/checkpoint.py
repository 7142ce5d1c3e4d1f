"""Checkpoints: the two newest, checksummed, written atomically, never unpickled.

A checkpoint is a folder-less pair in one safetensors file: all tensors by path, and everything else as JSON in the
file's metadata, so one rename makes it whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nasforge.errors import DamagedError
from nasforge.run.atomic import folder_error, remove_parts, write_bytes

KEPT: Final = 2
SCHEMA: Final = 1


@final
class Checkpoints:
    """The checkpoints of one kind in a folder, numbered upwards.

    Args:
        folder: made when the first is written.
        warn: hears one sentence for each damaged checkpoint that is passed over.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda sentence: None) -> None:
        """Take the folder."""
        self._folder, self._warn = folder, warn
        remove_parts(folder)

    def _files(self, kind: str) -> list[tuple[int, Path]]:
        found = []
        for path in self._folder.glob(f"{kind}-*.safetensors"):
            number = path.stem.removeprefix(f"{kind}-")
            if number.isdigit():
                found.append((int(number), path))
        return sorted(found)

    def save(self, kind: str, state: Any) -> Path:
        """Write nested dicts and lists of tensors, arrays and JSON values; drop all but the two newest."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise folder_error(self._folder, error) from error
        files = self._files(kind)
        number = files[-1][0] + 1 if files else 1
        tensors: dict[str, torch.Tensor] = {}
        plain = json.dumps(_split(state, "", tensors))
        content = save(tensors, {"schema": str(SCHEMA), "state": plain, "sha256": _digest(plain, tensors)})
        path = self._folder / f"{kind}-{number}.safetensors"
        write_bytes(path, content)
        for _, old in files[: max(0, len(files) + 1 - KEPT)]:
            old.unlink(missing_ok=True)
        return path

    def load(self, kind: str) -> Any | None:
        """Return the newest state that is whole, or None where there is none."""
        files = self._files(kind)
        for place, (_, path) in reversed(list(enumerate(files))):
            try:
                return read_state(path)
            except DamagedError as error:
                self._warn(f"{error} {'Going on from the one before.' if place else 'That part starts again.'}")
        return None


def read_state(path: Path) -> Any:
    """Read one checkpoint.

    Raises:
        DamagedError: it is cut, altered or no checkpoint.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        plain = metadata["state"]
        if metadata.get("schema") != str(SCHEMA) or metadata.get("sha256") != _digest(plain, tensors):
            raise DamagedError(f"checkpoint '{path}' does not match its checksum.")
        return _join(json.loads(plain), tensors)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"checkpoint '{path}' is damaged ({type(error).__name__}).") from error


def _digest(plain: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(plain.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _split(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the JSON skeleton of a state; its tensors go to `tensors` by path."""
    if isinstance(value, torch.Tensor | np.ndarray):
        array = isinstance(value, np.ndarray)
        tensor = torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
        tensors[path or "value"] = tensor.detach().cpu().contiguous().clone()
        return {"$array" if array else "$tensor": path or "value"}
    if isinstance(value, dict):
        items = [[_key(key), _split(entry, f"{path}/{key}", tensors)] for key, entry in value.items()]
        return {"$dict": items}
    if isinstance(value, list | tuple):
        entries = [_split(entry, f"{path}/{i}", tensors) for i, entry in enumerate(value)]
        return {"$tuple": entries} if isinstance(value, tuple) else entries
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} at '{path}'")


def _key(key: Any) -> Any:
    if not isinstance(key, str | int):
        raise TypeError(f"a checkpoint cannot hold the key {key!r}")
    return key


def _join(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_join(entry, tensors) for entry in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "$dict":
        return {key: _join(entry, tensors) for key, entry in content}
    if tag == "$tuple":
        return tuple(_join(entry, tensors) for entry in content)
    return tensors[content] if tag == "$tensor" else tensors[content].numpy()
