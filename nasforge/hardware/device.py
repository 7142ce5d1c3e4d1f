"""What this machine is: enough to tell whether a latency profile was measured on one like it."""

from __future__ import annotations

import functools
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from nasforge.identity import fingerprint


@final
@dataclass(frozen=True, slots=True)
class Device:
    """A processor: model, features that decide speed, and how many cores there are."""

    model: str
    family: str
    features: tuple[str, ...]
    cores: int
    hypervisor: bool

    def to_json(self) -> dict[str, Any]:
        """Return the device as plain data."""
        return asdict(self) | {"features": list(self.features)}

    @property
    def key(self) -> str:
        """A hash of what decides speed: model and features."""
        return fingerprint([self.model, self.family, list(self.features)])

    @property
    def multiplies_int8(self) -> bool:
        """Whether it has instructions for 8-bit products (VNNI and its like); without, INT8 may be slower."""
        return any(feature in self.features for feature in INT8_PRODUCTS)


INT8_PRODUCTS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "i8mm", "asimddp")
"""Features with instructions that sum products of 8-bit numbers."""
_TELLING = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")


@functools.cache
def this_cpu() -> Device:
    """Describe the processor nasforge runs on (from /proc/cpuinfo where there is one)."""
    info: dict[str, str] = {}
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            info.setdefault(name.strip(), value.strip())
    flags = set((info.get("flags") or info.get("Features") or "").split())
    numbers = [info.get(key, "?") for key in ("vendor_id", "cpu family", "model", "stepping")]
    return Device(
        info.get("model name") or platform.processor() or platform.machine(),
        "/".join(numbers),
        tuple(flag for flag in _TELLING if flag in flags),
        os.cpu_count() or 1,
        "hypervisor" in flags,
    )
