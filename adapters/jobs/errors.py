"""How a command ends: its exit statuses, and the error whose text is the one line the user sees."""

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

OK = 0
CANNOT = 2  # the command cannot be carried out
SOME_FAILED = 3  # carried out, but some items have an error in place of their answer
CLOSED_PIPE = 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 141


class UsageError(Exception):
    """A command that cannot be carried out; its text is the line the user sees."""


class Stopped(BaseException):
    """A signal asked the command to end. Not an Exception: no item may take it for its own failure.

    ``kept``: what the user should know of what was done.
    """

    def __init__(self, number: int, kept: str | None = None) -> None:
        super().__init__("interrupted" + (f"; {kept}" if kept else ""))
        self.number = number

    @property
    def status(self) -> int:
        return 128 + self.number

    @classmethod
    def like(cls, stop: BaseException, kept: str | None) -> "Stopped":
        """The same stop (a KeyboardInterrupt is one by SIGINT) with what was kept."""
        return cls(getattr(stop, "number", signal.SIGINT), kept)


class ClosedPipe(BaseException):
    """Nobody reads standard output any more."""


def discard_standard_output() -> None:
    """Let what is still to be written to standard output go nowhere: Python flushes it once more as it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_standard_output(text: str = "") -> None:
    """Write all of it, now: a full disk is one line here, and not a traceback when Python ends."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_standard_output()
        cannot("write", "standard output", error)


def cannot(action: str, name: str, error: OSError) -> NoReturn:
    """Raise the line for a file that cannot be read or written."""
    raise UsageError(f"cannot {action} {name}: {error.strerror or error}") from None


def one_line(error: BaseException) -> str:
    """The text of an error as one line, whole: white space becomes single spaces.

    >>> one_line(ValueError("No tokenizer; it needs one of:\\n  (1) tokenizer.json\\n  (2) vocab.txt"))
    'No tokenizer; it needs one of: (1) tokenizer.json (2) vocab.txt'
    """
    return " ".join(str(error).split()) or type(error).__name__
