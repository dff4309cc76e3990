"""What a batch leaves on a device, read by the host when the next batch is on its way.

A task's ``forward`` yields the tensors that it needs on the host and is given them there; on the CPU at once, on a
device once the copy has arrived, which nobody waits for before the next batch has been launched.
"""

from collections.abc import Generator, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from ...postprocess.transfers import Arriving

__all__ = ["InFlight", "Reading", "Reads", "begun", "outputs_of"]

T = TypeVar("T")
Reads: TypeAlias = Generator[Sequence[Tensor], list[Tensor], T]  # yields tensors, is sent the same on the host
Reading: TypeAlias = Reads[Sequence[Any]]  # of a batch: returns an output per row


class InFlight:
    """A batch that has been launched and whose answers are still on their way from the device."""

    def __init__(self, reading: Reading, arriving: Arriving) -> None:
        self._reading = reading
        self._arriving = arriving

    def outputs(self) -> Sequence[Any]:
        """An output per row; waits until the device has come so far."""
        with torch.no_grad():
            return outputs_of(_resumed(self._reading, self._arriving))


def begun(found: Sequence[Any] | Reading) -> Sequence[Any] | InFlight:
    """What a task's forward gave, its reading begun: the outputs where they are on the host, else ``InFlight``."""
    if not isinstance(found, Generator):
        return found
    try:
        wanted = next(found)
    except StopIteration as ended:
        outputs: Sequence[Any] = ended.value
        return outputs
    return _arriving(found, wanted)


def outputs_of(found: Sequence[Any] | InFlight) -> Sequence[Any]:
    """The outputs, waited for where they are in flight."""
    return found.outputs() if isinstance(found, InFlight) else found


def _arriving(reading: Reading, wanted: Sequence[Tensor]) -> Sequence[Any] | InFlight:
    for each in wanted:
        if each.device.type != "cpu":
            return InFlight(reading, Arriving.of(*wanted))
    return _answered(reading, list(wanted))


def _resumed(reading: Reading, arriving: Arriving) -> Sequence[Any] | InFlight:
    return _answered(reading, arriving.received())


def _answered(reading: Reading, values: list[Tensor]) -> Sequence[Any] | InFlight:
    try:
        wanted = reading.send(values)
    except StopIteration as ended:
        outputs: Sequence[Any] = ended.value
        return outputs
    return _arriving(reading, wanted)
