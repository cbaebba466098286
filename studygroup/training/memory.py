"""The memory of live tensors in a training step: its peak, and the part of the autograd graph that is left at each update.

Every storage is counted once, from the operation that creates it until it is freed. Buffers inside kernels and reserves of an allocator
are not counted, so the figures are the same on all devices.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class StepMemory:
    """Bytes of live tensors in one training step.

    Attributes:
        peak: maximum, everything included.
        resident: weights, buffers, optimizer state and the batch, which exist between steps, too.
        waiting: at each update, activations that are kept for a later backward pass.
        left: at each update, activations whose backward pass is done and that are still kept; 0 unless there is a leak.
    """

    peak: int
    resident: int
    waiting: tuple[int, ...]
    left: tuple[int, ...]


class LiveTensors(TorchDispatchMode):
    """Dispatch mode that follows every storage that an operation creates.

    Attributes:
        now: live bytes.
        peak: maximum of live bytes so far.
    """

    def __init__(self, resident: Iterable[Tensor] = ()) -> None:
        """Args: resident: tensors that exist already."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in resident:
            self._see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)  # one object as long as the storage lives, whoever holds it
        if key in self._known:
            return
        size = storage.nbytes()

        def gone(_: object) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


class Saved:
    """A tensor that the autograd graph saved, and whether the backward pass has used it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.used = False


def bytes_of(tensors: Iterable[Tensor], besides: Iterable[Tensor] = ()) -> int:
    """Return the bytes of the storages of some tensors, each counted once, without those of `besides`."""
    known = {id(tensor.untyped_storage()) for tensor in besides}
    return sum({id(s): s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors) if id(s) not in known}.values())


def step_memory(step: Callable[[], object], resident: Iterable[Tensor]) -> StepMemory:
    """Run one training step and measure its memory.

    Args:
        step: runs it: forward and backward passes, and the optimizer updates.
        resident: tensors that exist before and after it.
    """
    there = list(resident)
    alive: weakref.WeakSet[Saved] = weakref.WeakSet()
    waiting: list[int] = []
    left: list[int] = []

    def pack(tensor: Tensor) -> Saved:
        saved = Saved(tensor)
        alive.add(saved)
        return saved

    def unpack(saved: Saved) -> Tensor:
        saved.used = True
        return saved.tensor

    def look(*_: object) -> None:
        waiting.append(bytes_of((saved.tensor for saved in alive if not saved.used), there))
        left.append(bytes_of((saved.tensor for saved in alive if saved.used), there))

    hook = register_optimizer_step_pre_hook(look)
    live = LiveTensors(there)
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack), live:
            step()
    finally:
        hook.remove()
    return StepMemory(live.peak, bytes_of(there), tuple(waiting), tuple(left))
