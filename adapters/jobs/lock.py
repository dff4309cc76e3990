"""One job an output: an advisory lock that the kernel drops with its process."""

import os
from contextlib import suppress
from pathlib import Path

from .errors import UsageError


class Lock:
    """Holds ``folder/lock``, the folder made if need be. Raises UsageError with ``taken`` where another job does."""

    def __init__(self, folder: Path, taken: str) -> None:
        try:
            import fcntl
        except ImportError:
            raise UsageError(
                "--output needs file locks as POSIX has them, which Windows has not; use WSL, or --output -"
            ) from None
        while True:
            with suppress(FileExistsError):
                os.mkdir(folder)
            try:
                handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # the job before has just finished and taken its folder away
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = os.read(handle, 32).decode("ascii", "replace").strip()
                os.close(handle)
                if not isinstance(error, BlockingIOError):
                    raise
                raise UsageError(f"{taken} (process {owner})" if owner else taken) from None
            if self._stands(folder, handle):
                break
            os.close(handle)
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        self._handle = handle

    @staticmethod
    def _stands(folder: Path, handle: int) -> bool:
        """Whether the file that was locked is still the one under its name."""
        try:
            found = os.stat(folder / "lock")
        except FileNotFoundError:
            return False
        held = os.fstat(handle)
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        os.close(self._handle)
