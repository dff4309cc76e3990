"""Tensors between the host and a device: sent from pinned memory, received together behind one event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Arriving", "received", "sent"]


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on ``device``; to CUDA it goes from pinned memory, and nobody waits until it is there."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def received(*tensors: Tensor) -> list[Tensor]:
    """The tensors on the host, each of its own shape and type; for those on a device it waits once.

    >>> received(torch.tensor([1, 2]), torch.tensor(0.5))
    [tensor([1, 2]), tensor(0.5000)]
    """
    return Arriving.of(*tensors).received()


@dataclass(frozen=True)
class Arriving:
    """Tensors on their way to the host. Those of a CUDA device come as bytes of one copy to pinned memory."""

    parts: Sequence[Tensor | tuple[torch.dtype, torch.Size]]  # those of the host; type and shape of the others
    order: Sequence[int]  # the others, as their bytes follow one another
    bytes: Tensor | None  # uint8
    event: Any  # recorded after the copy; None where it has been waited for

    @classmethod
    def of(cls, *tensors: Tensor) -> Arriving:
        """Begin to copy; what is on the host already stays as it is."""
        away = [place for place, each in enumerate(tensors) if each.device.type != "cpu"]
        if not away:
            return cls(tensors, (), None, None)
        # Wide types first: every part then begins where numbers of its own type may begin.
        away.sort(key=lambda place: -tensors[place].element_size())
        flat = [tensors[place].contiguous().view(-1).view(torch.uint8) for place in away]
        together = torch.cat(flat) if len(flat) > 1 else flat[0]
        parts = [each if each.device.type == "cpu" else (each.dtype, each.shape) for each in tensors]
        if together.device.type != "cuda":
            return cls(parts, away, together.cpu(), None)
        pinned = torch.empty(together.shape, dtype=torch.uint8, pin_memory=True, device="cpu")
        pinned.copy_(together, non_blocking=True)
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(together.device))  # which need not be that of the current device
        return cls(parts, away, pinned, event)

    def received(self) -> list[Tensor]:
        """The tensors on the host, in ordinary memory: pinned memory is dear, and results may be kept for long."""
        if not self.order:
            return list(self.parts)  # type: ignore[arg-type]
        found: dict[int, Tensor] = {place: part for place, part in enumerate(self.parts) if isinstance(part, Tensor)}
        together, first = self._bytes(), 0
        for place in self.order:
            dtype, shape = self.parts[place]
            end = first + dtype.itemsize * shape.numel()
            found[place] = together[first:end].view(dtype).view(shape)
            first = end
        return [found[place] for place in range(len(self.parts))]

    def _bytes(self) -> Tensor:
        if self.bytes is None or self.event is None:
            return torch.empty(0, device="cpu") if self.bytes is None else self.bytes
        if not self.event.query():
            self.event.synchronize()
        return self.bytes.clone()
