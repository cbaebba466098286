"""The memory of live tensors: its peak in a training step, and what of the graph is left when the optimiser runs.

Storages are counted, each once, from the operation that made them to their end. Not counted are buffers inside a kernel and what an
allocator keeps in reserve, so the figures are the same on all devices.
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
        peak: at the highest, all included.
        resident: of what is there between steps: weights, buffers, the optimiser's state, the batch.
        waiting: at each update, of activations that are kept for a lesson whose backward pass is still to come.
        left: at each update, of activations whose backward pass is done and that are kept nevertheless; 0 unless something is amiss.
    """

    peak: int
    resident: int
    waiting: tuple[int, ...]
    left: tuple[int, ...]


class LiveTensors(TorchDispatchMode):
    """While it is entered, follows every storage that an operation makes.

    Attributes:
        now: bytes that are live.
        peak: their maximum so far.
    """

    def __init__(self, resident: Iterable[Tensor] = ()) -> None:
        """Args: resident: tensors that are there already."""
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
    """What a graph keeps of a tensor for its backward pass, and whether that has asked for it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.used = False


def bytes_of(tensors: Iterable[Tensor], besides: Iterable[Tensor] = ()) -> int:
    """Bytes of the storages of some tensors, each counted once; those that `besides` have are left out."""
    known = {id(tensor.untyped_storage()) for tensor in besides}
    return sum({id(s): s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors) if id(s) not in known}.values())


def step_memory(step: Callable[[], object], resident: Iterable[Tensor]) -> StepMemory:
    """Run one training step and measure its memory.

    Args:
        step: runs it: forward and backward passes, and the optimiser's updates.
        resident: what is there before and after it.
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
