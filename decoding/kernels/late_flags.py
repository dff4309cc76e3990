"""What a step leaves on a device and the host reads one step later, without waiting for the step that runs."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["LateFlag"]


class LateFlag:
    """A small tensor that is sent at the end of every step and received while the next one runs.

    On CUDA it goes to pinned memory, and its event is waited for when it is received, which as a rule has passed by
    then. What was sent is received before something else is sent. On other devices ``receive`` copies.
    """

    def __init__(self) -> None:
        self._sent: Tensor | None = None  # on the device, or the pinned copy of it
        self._pinned: Tensor | None = None
        self._event: Any = None
        self._device: torch.device | None = None

    def send(self, values: Tensor) -> None:
        """Let ``values`` come, whose memory may be written to afterwards where it is CUDA's."""
        if values.device.type != "cuda":
            self._sent = values
            return
        pinned = self._pinned
        if pinned is None or pinned.shape != values.shape or pinned.dtype != values.dtype:
            pinned = self._pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True, device="cpu")
        if self._device != values.device:
            self._device, self._event = values.device, torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        pinned.copy_(values, non_blocking=True)
        # Of the device that copies, which need not be the current one.
        self._event.record(torch.cuda.current_stream(values.device))
        self._sent = pinned

    def receive(self) -> Tensor | None:
        """What was sent last, on the host; None where nothing was since it was received."""
        found, self._sent = self._sent, None
        if found is None or found.device.type != "cpu" or self._event is None:
            return None if found is None else found.cpu()
        if not self._event.query():
            self._event.synchronize()
        return found
