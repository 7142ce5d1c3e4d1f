"""Every installed space passes the public suite; the slow variants look at more architectures and larger inputs."""

import pytest

from nasforge.registry import installed
from nasforge.testing.spaces import SpaceSuite

MORE = {"architectures": 500, "networks": 200, "runs": 20}
FEWER = {"architectures": 30, "networks": 4, "runs": 2}
LARGE = {"eeea", "nasnet"}
"""Spaces whose smallest preset has hundreds of layers: both variants look at fewer architectures."""

for _name in installed("spaces"):
    _fast = type(f"Test_{_name}", (SpaceSuite,), {"name": _name, **(FEWER if _name in LARGE else {})})
    _slow = type(
        f"TestThorough_{_name}",
        (SpaceSuite,),
        {
            "name": _name,
            "input_shape": (3, 32, 32),
            **(MORE if _name not in LARGE else {**FEWER, "architectures": 100}),
        },
    )
    globals().update({_fast.__name__: _fast, _slow.__name__: pytest.mark.slow(_slow)})
