"""What a GPU would do and what the host would wait for, with the line that asked for it."""

import sys
from collections import Counter
from dataclasses import dataclass, field

from .capture import refuse

ROOMS = ("/decoding/", "/adapters/", "/postprocess/", "/transformers/")


@dataclass
class Counts:
    """What has happened since the last ``reset``.

    waits: kinds of operations after which the host waits for the device, where: the same with the lines that asked.
    late: events that were waited for, as a rule those of an earlier step. operations: names of the operations that are
    no views, with the number of kernels that each launches at least. late_where: the lines that waited for events.
    """

    waits: Counter[str] = field(default_factory=Counter)
    where: Counter[tuple[str, str]] = field(default_factory=Counter)
    late: int = 0
    late_where: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)

    def reset(self) -> None:
        """Start at nothing."""
        for counter in (self.waits, self.where, self.late_where, self.operations):
            counter.clear()
        self.late = 0

    def wait(self, kind: str, times: int = 1) -> None:
        """The host waits for the device."""
        refuse(kind)
        self.waits[kind] += times
        self.where[kind, site()] += times

    def wait_late(self) -> None:
        """The host waits for an event."""
        self.late += 1
        self.late_where[site()] += 1

    def launch(self, name: str, kernels: int) -> None:
        """The device is given an operation."""
        self.operations[name] += kernels

    def totals(self) -> tuple[int, int, int]:
        """Waits, late waits, operations."""
        return self.waits.total(), self.late, self.operations.total()


def site() -> str:
    """The two innermost lines of this package or of transformers that are running."""
    frame, found = sys._getframe(1), list[str]()
    while frame is not None and len(found) < 2:
        name = frame.f_code.co_filename
        room = next((room for room in ROOMS if room in name), None)
        if room is not None:
            found.append(f"{name[name.rindex(room) + 1 :]}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(found) or "outside of this package"
