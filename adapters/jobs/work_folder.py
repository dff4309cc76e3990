"""The work folder beside an output: a lock, a fingerprint, and shards of answered items, one fsynced rename each.

``.OUTPUT.job/`` holds all an unfinished job has done. A dead process holds nothing: the lock is flock's, and whatever
is there under its final name is whole.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from .errors import UsageError, cannot
from .lines import DIGEST_BYTES
from .lock import Lock

_SUFFIX = ".shard"
KEPT = ("parts", "checkpoint")  # what an engine other than this one has done


@dataclass(frozen=True)
class ShardHead:
    """What a shard says of itself. It answers the items from ``first`` (from 0), ``count`` of them.

    ``last``: the input ended with it; ``failed``: how many have an error, ``reason`` the first's; ``check``: the digest
    of its rows.
    """

    first: int
    count: int
    last: bool
    failed: int
    reason: str | None
    check: str


class WorkFolder:
    """The shards of one output. Open it as a context; ``finish`` drops it, leaving early keeps what it holds."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.job")
        self._gone = target.with_name(f".{target.name}.job.done")
        self._target = target
        self._lock: Lock | None = None
        self._shards: list[Path] = []
        self.done = self.failed = 0  # items in shards, from the first on, and how many of them have an error
        self.reason: str | None = None  # the first error
        self.ended = False  # the input ended with them

    def __enter__(self) -> "WorkFolder":
        try:
            with suppress(FileNotFoundError):
                os.lstat(self._gone)  # a name that is too long is refused now, not at the end
            self._lock = Lock(self.path, f"another job is writing {self._target}")
            shutil.rmtree(self._gone, ignore_errors=True)
            for name in os.listdir(self.path):
                if name.endswith(".part"):  # a commit or a join that was cut short
                    remove(self.path / name)
        except OSError as error:
            cannot("write", str(self._target), error)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._lock is None:
            return
        if self.path.exists() and not any(name.endswith(_SUFFIX) or name in KEPT for name in os.listdir(self.path)):
            self._drop()  # nothing was answered: leave no trace
        self._lock.release()

    def begin(self, fingerprint: Mapping[str, Any], *, restart: bool = False) -> None:
        """Take up the job of this fingerprint, or refuse another one that is unfinished, naming what differs."""
        place = self.path / "job.json"
        if restart:
            for name in sorted(os.listdir(self.path), key=lambda name: name == "job.json"):  # the fingerprint last
                if name != "lock":
                    remove(self.path / name)
        if place.exists():
            difference = _difference(self._read_fingerprint(place), fingerprint)
            if difference is not None:
                raise UsageError(f"{self._target} has an unfinished job: {difference}; --restart drops it")
        else:
            self._write(place.name, [json.dumps(fingerprint, indent=1, sort_keys=True).encode()])
        self._take_up(sorted(name for name in os.listdir(self.path) if name.endswith(_SUFFIX)))

    def _read_fingerprint(self, place: Path) -> Any:
        try:
            return json.loads(place.read_bytes())
        except ValueError:
            raise UsageError(f"{self._target} has an unfinished job of no known kind; --restart drops it") from None

    def _take_up(self, names: Sequence[str]) -> None:
        """The shards that follow each other from the first item on; what lies behind a gap is answered again."""
        for name in names:
            place = self.path / name
            with open(place, "rb") as shard:
                head = _head_of_whole(shard)
            if head is not None and head.first == self.done:
                self._take(place, head)
            else:
                remove(place)

    def _take(self, place: Path, head: ShardHead) -> None:
        self._shards.append(place)
        self.done += head.count
        self.failed += head.failed
        self.reason = self.reason or head.reason
        self.ended = head.last

    def digests(self) -> Iterator[bytes]:
        """The digests of the items in the shards, in order."""
        for place in self._shards:
            with open(place, "rb") as shard:
                head = _read_head(shard)
                joined = shard.read(head.count * DIGEST_BYTES)
            yield from (joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES))

    def commit(
        self, digests: Sequence[bytes], rows: Sequence[bytes], *, failed: int, reason: str | None, last: bool
    ) -> None:
        """Keep the rows of the next items, for good: after this returns no kill and no power cut loses them."""
        joined = b"".join(digests)
        head = ShardHead(self.done, len(digests), last, failed, reason, _digest(rows))
        name = f"{self.done:012d}-{_digest([joined])}{_SUFFIX}"
        self._write(name, [json.dumps(asdict(head)).encode(), b"\n", joined, *rows])
        self._take(self.path / name, head)

    def _write(self, name: str, data: Sequence[bytes]) -> None:
        """Write a file whole or not at all: under another name, to the disk, then renamed."""
        partial = self.path / f"{name}.part"
        try:
            with open(partial, "wb") as file:
                file.writelines(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path / name)
            fsync_folder(self.path)
        except OSError as error:
            with suppress(OSError):
                remove(partial)  # a full disk: give its room back
            cannot("write", str(self.path / name), error)

    def rows(self) -> Iterator[bytes]:
        """Every row of every shard in order, as the line of JSON it is."""
        for shard in self._bodies():
            yield from shard

    def bodies(self) -> Iterator[bytes]:
        """The same in large pieces."""
        for shard in self._bodies():
            while piece := shard.read(1 << 20):
                yield piece

    def _bodies(self) -> Iterator[IO[bytes]]:
        for place in self._shards:
            with open(place, "rb") as shard:
                head = _read_head(shard)
                shard.seek(head.count * DIGEST_BYTES, os.SEEK_CUR)
                yield shard

    def finish(self) -> None:
        """Drop everything: the output stands."""
        self._drop()

    def _drop(self) -> None:
        # Renamed first, so that no later job takes a half-deleted folder for an unfinished one.
        os.replace(self.path, self._gone)
        shutil.rmtree(self._gone, ignore_errors=True)


def _read_head(shard: IO[bytes]) -> ShardHead:
    return ShardHead(**json.loads(shard.readline()))


def _head_of_whole(shard: IO[bytes]) -> ShardHead | None:
    """The head of a shard whose rows are those that were written, or None."""
    try:
        head = _read_head(shard)
    except (ValueError, TypeError):
        return None
    shard.seek(head.count * DIGEST_BYTES, os.SEEK_CUR)
    return head if _digest(iter(lambda: shard.read(1 << 20), b"")) == head.check else None


def _digest(pieces: Iterable[bytes]) -> str:
    found = blake2b(digest_size=16)
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> str | None:
    """What the first difference between two fingerprints is, in words."""
    for name in sorted({*before, *now}, key=lambda name: (name != "task", name)):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            return _difference(old, new, f"{within}{name} ")
        if within.startswith("model files"):
            return f"{within}{name} changed".replace("model files", "model file")
        return f"{within}{name} was {old!r}, is {new!r}"
    return None


def remove(place: Path) -> None:
    """A file or a folder, if it is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
