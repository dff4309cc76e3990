"""The pretend device for a test: ``with pretend_cuda() as counts``, models put on it, differences of runs."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from . import tensors
from .capture import CURRENT, PretendGraph, captured, capturing, refuse
from .counts import Counts
from .guard import why_not
from .tensors import COUNTS, PENDING, PINNED, PretendTensor, arrive, counted_builder, dispatch

__all__ = ["on_device", "per_step", "pretend_cuda", "to_host"]


class _Mode(TorchDispatchMode):
    """Sees the operations that make tensors on the device from nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class PretendStream:
    """The current stream of a device."""

    def __init__(self, device: Any = None):
        self.index = CURRENT[0] if device is None else torch.device(device).index or 0


class PretendGuard:
    """``with torch.cuda.device(...)``: another device is the current one."""

    def __init__(self, device: Any):
        self.index = device if isinstance(device, int) else torch.device(device).index or 0
        self._before = 0

    def __enter__(self) -> None:
        self._before, CURRENT[0] = CURRENT[0], self.index

    def __exit__(self, *error: object) -> None:
        CURRENT[0] = self._before


class PretendEvent:
    """A CUDA event. What is copied to pinned memory arrives when an event recorded after it is waited for."""

    def __init__(self, *args: Any, **kwargs: Any):
        self._copies: list[tuple[Tensor, Tensor]] = []

    def record(self, stream: "PretendStream | None" = None) -> None:
        """From here on what was begun before in that stream is waited for."""
        self._copies = PENDING[:] if (stream or PretendStream()).index == 0 else []

    def synchronize(self) -> None:
        """Wait."""
        refuse("an event")
        COUNTS.wait_late()
        arrive(self._copies)
        self._copies = []

    def query(self) -> bool:
        """Whether there is nothing to wait for."""
        return not any(copy is pending for copy in self._copies for pending in PENDING)


def _pin_memory(tensor: Tensor, device: Any = None) -> Tensor:
    if isinstance(tensor, PretendTensor):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    refuse("pinned memory")
    return tensors.pinned(tensor.clone())


@contextmanager
def pretend_cuda(current: int = 0) -> Iterator[Counts]:
    """A block in which torch has a device "cuda:0" that is not there; skips the test where it cannot be had.

    current: which device is the current one, whatever the tensors' is.
    """
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        for owner, name, value in (
            (torch, "tensor", counted_builder(torch.tensor, "tensor")),
            (torch, "as_tensor", counted_builder(torch.as_tensor, "as_tensor")),
            (torch.cuda, "_lazy_init", lambda: None),
            (torch.cuda, "current_device", lambda: CURRENT[0]),
            (torch.cuda, "current_stream", PretendStream),
            (torch.cuda, "device", PretendGuard),
            (torch.cuda, "Event", PretendEvent),
            (torch.cuda, "is_current_stream_capturing", capturing),
            (torch.cuda, "CUDAGraph", PretendGraph),
            (torch.cuda, "graph", captured),
            (torch.Tensor, "pin_memory", _pin_memory),
            (torch.Tensor, "is_pinned", lambda tensor, device=None: tensors.is_pinned(tensor)),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(mock.patch.dict(os.environ, {"AFTERLOGITS_KERNELS": "off"}))  # triton has no such device
        # A build of torch with CUDA would ask its driver which kernels for attention this device has, and take cuDNN's.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(PretendGuard(current))
        stack.enter_context(_Mode())
        COUNTS.reset()
        try:
            yield COUNTS
        finally:
            PENDING.clear()
            PINNED.clear()


def on_device(value: Any) -> Any:
    """A copy on the pretend device: of a tensor, a model, or of those in a dict, a list or a tuple."""
    if isinstance(value, Tensor):
        return PretendTensor(value.detach().clone())
    if isinstance(value, torch.nn.Module):
        return _model_on_device(value)
    if isinstance(value, dict):
        return {name: on_device(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_device(each) for each in value)
    return value


def _model_on_device(model: torch.nn.Module) -> torch.nn.Module:
    """A copy whose parameters and buffers are on the device; tensors that modules hold shared stay shared."""
    twin, moved = copy.deepcopy(model), dict[int, Tensor]()
    for module in twin.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    if id(tensor) not in moved:
                        moved[id(tensor)] = PretendTensor(tensor.detach())
                    held[name] = moved[id(tensor)]  # type: ignore[assignment]
        for name, value in vars(module).items():
            if type(value) is Tensor:
                setattr(module, name, PretendTensor(value.detach()))
    return twin


def to_host(value: Any) -> Any:
    """What a test looks at: tensors of the pretend device, in dicts, lists and tuples too, as tensors of the host."""
    if isinstance(value, PretendTensor):
        return value.inner
    if isinstance(value, dict):
        return {name: to_host(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_host(each) for each in value)
    return value


def per_step(run: Callable[[int], Any], counts: Counts, short: int = 12, long: int = 24) -> tuple[float, float, float]:
    """Waits, late waits and operations of one step, from runs of ``short`` and of ``long`` steps."""
    found = []
    for steps in (short, long):
        counts.reset()
        run(steps)
        found.append(counts.totals())
    first, last = found
    waits, late, operations = ((b - a) / (long - short) for a, b in zip(first, last, strict=True))
    return waits, late, operations
