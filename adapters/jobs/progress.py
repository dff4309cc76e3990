"""What a job tells while it runs: a bar on a terminal, JSON events in a log, and one line at the end."""

import json
import sys
import time
from contextlib import suppress
from typing import Any

from .errors import UsageError, cannot


class Progress:
    """Counts of one job. ``answered`` and ``failed`` count items; ``reason`` is the first failure's."""

    def __init__(
        self, task: str, noun: str, *, total: int | None = None, bar: bool = False, log: str | None = None
    ) -> None:
        self.noun = noun
        self.total = total
        self.done = self.failed = 0
        self.reason: str | None = None
        self._log = None
        if log is not None:
            try:
                self._log = open(log, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close
            except OSError as error:
                cannot("write", log, error)
        self._began = time.time()
        self._bar = _bar(task, noun, total) if bar and sys.stderr.isatty() else None
        self.event("start", task=task, total=total)

    def advance(self, count: int, failed: int = 0, reason: str | None = None, *, resumed: bool = False) -> None:
        """``count`` more items, ``failed`` of them without an answer; ``resumed``: by an earlier run of the job."""
        self.done += count
        self.failed += failed
        self.reason = self.reason or reason
        if self._bar is not None:
            if resumed:  # they say nothing about how fast this run is
                self._bar.initial += count
                self._bar.n += count
            else:
                self._bar.update(count)
            if self.failed:
                self._bar.set_postfix(failed=self.failed)

    def event(self, name: str, **facts: Any) -> None:
        """One line of the log: the time, what happened, and its facts."""
        if self._log is not None:
            record = {"time": round(time.time(), 3), "event": name, **facts}
            try:
                self._log.write(json.dumps(record, ensure_ascii=True, default=str) + "\n")
            except OSError as error:
                self._close_log()
                raise UsageError(f"cannot write the log: {error.strerror}") from None

    def summary(self) -> str | None:
        """The line that counts what was not answered, or None if all were."""
        if not self.failed:
            return None
        plural = "s" if self.done != 1 else ""
        return f"{self.failed:,} of {self.done:,} {self.noun}{plural} not answered; the first: {self.reason}"

    def close(self, status: str) -> None:
        self.event(
            "end", status=status, done=self.done, failed=self.failed, seconds=round(time.time() - self._began, 3)
        )
        if self._bar is not None:
            self._bar.close()
        self._close_log()

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            with suppress(OSError):  # what a full disk did not take
                log.close()


def _bar(task: str, noun: str, total: int | None) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=task, unit=noun, file=sys.stderr)
