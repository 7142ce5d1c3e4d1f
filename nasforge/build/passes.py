"""Where passes through networks are told to whoever counts them: the runs of supernets and networks tell, nobody else.

Who counts opens `watching`, and everything that runs inside of it is told, so strategies and evaluators need not know.
A forward pass is told when it has run; a backward pass when a gradient arrives at the outputs, whoever asked for it
and however often. Where nobody watches, a pass costs one look at a context variable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol

from torch import Tensor

from nasforge.space.lower import MixOp, Step


class PassWatcher(Protocol):
    """Hears of passes."""

    def ran_forward(self, images: int, image_macs: int) -> None:
        """A forward pass over so many images has run, of so many multiply-accumulates altogether."""

    def ran_backward(self, images: int, image_macs: int) -> None:
        """A backward pass has begun through a forward pass of so many images and multiply-accumulates."""


_WATCHER: Final[ContextVar[PassWatcher | None]] = ContextVar("nasforge_passes", default=None)


@contextmanager
def watching(watcher: PassWatcher) -> Iterator[None]:
    """While open, tell a watcher of all passes of this thread, in the place of any other."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def macs_of(steps: Sequence[Step]) -> int:
    """Return the multiply-accumulates of steps for one image."""
    return sum(step.op.macs(step.input_types) for step in steps if not isinstance(step.op, MixOp))


def images_of(x: Tensor | Mapping[str, Tensor]) -> int:
    """Return the number of images of an input, or of inputs by name."""
    return len(x) if isinstance(x, Tensor) else len(next(iter(x.values())))


def tell_pass(images: int, image_macs: Callable[[], int], outputs: Any) -> None:
    """Tell of a forward pass that has run, and have its backward passes told.

    Args:
        images: of the batch.
        image_macs: says the multiply-accumulates of all of them; asked only where somebody watches.
        outputs: tensors in lists and dicts. Of several, the first that a gradient reaches tells, once.
    """
    found = _WATCHER.get()
    if found is None:
        return
    macs = image_macs()
    found.ran_forward(images, macs)
    tensors = [tensor for tensor in _tensors(outputs) if tensor.requires_grad]
    if len(tensors) == 1:
        tensors[0].register_hook(lambda gradient: found.ran_backward(images, macs))  # type: ignore[no-untyped-call]  # torch has no types here
    elif tensors:
        once = _Once(lambda: found.ran_backward(images, macs))
        for tensor in tensors:
            tensor.register_hook(once)  # type: ignore[no-untyped-call]  # as above


class _Once:
    """A hook that tells the first time only."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def __call__(self, gradient: Tensor) -> None:
        if self._tell is not None:
            self._tell()
            self._tell = None


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from _tensors(value)
    elif isinstance(outputs, list | tuple):
        for value in outputs:
            yield from _tensors(value)
