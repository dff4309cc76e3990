"""One running batch that any thread may hand prompts to: a server's, or that of several readers of a queue."""

import threading
import warnings
from collections.abc import Callable, Iterator
from queue import Full, SimpleQueue
from typing import Any

from ...decoding.options.validation import check_count
from ...decoding.search.row_requests import FinishedRow, RowRequest
from ...decoding.search.running_batch import RunningBatch
from .generate_stream import GeneratedRow, as_prompt, running_model
from .row_plans import RowPlans

__all__ = ["Cancelled", "LiveBatch", "LiveRow"]


class Cancelled(Exception):
    """The row was cancelled, or its batch was closed before it had run."""


class LiveRow:
    """A prompt on its way through a ``LiveBatch``: an iterator over its new tokens as they come, from any thread.

    Ends where the row ends; raises its error, or ``Cancelled``. ``result()`` waits for the whole row.
    """

    def __init__(self, batch: "LiveBatch", on_token: Callable[[int, str], None] | None) -> None:
        self._batch, self._on_token = batch, on_token
        self._tokens: SimpleQueue[int | None] = SimpleQueue()
        self._ended = threading.Event()
        self._finished: FinishedRow | None = None
        self._request: RowRequest | None = None
        self._read_to_end = False

    def __iter__(self) -> Iterator[int]:
        while not self._read_to_end:
            token = self._tokens.get()
            if token is None:
                self._read_to_end = True
                break
            yield token
        self._checked()

    @property
    def done(self) -> bool:
        """Whether the row has ended."""
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> GeneratedRow:
        """The whole row. Raises TimeoutError after ``timeout`` seconds, the row's error, or ``Cancelled``."""
        if not self._ended.wait(timeout):
            raise TimeoutError(f"row must end within {timeout} s; it has not")
        return self._checked()

    def cancel(self) -> None:
        """Let the row leave at the next step; no matter if it has ended."""
        self._batch._cancel(self)

    def _put(self, token: int, reason: str) -> None:
        self._tokens.put(token)
        self._tell(token, reason)

    def _end(self, finished: FinishedRow) -> None:
        self._finished = finished
        self._ended.set()
        self._tokens.put(None)
        if finished.reason in ("error", "cancelled"):
            try:
                self._tell(-1, finished.reason)
            except Exception as error:  # the row has ended, and the batch's thread must not end with it
                warnings.warn(f"on_token must not raise; got {error!r} at the end of a row", stacklevel=1)

    def _tell(self, token: int, reason: str) -> None:
        """Call ``on_token``; once it has raised, which ends the row with its error, no more."""
        listener, self._on_token = self._on_token, None
        if listener is not None:
            listener(token, reason)
            self._on_token = listener

    def _checked(self) -> GeneratedRow:
        assert self._finished is not None
        if self._finished.error is not None:
            raise self._finished.error
        if self._finished.reason == "cancelled":
            raise Cancelled("the row was cancelled")
        return GeneratedRow(0, self._finished.token_ids, self._finished.prompt_length, self._finished.reason)


class LiveBatch:
    """``model`` in a thread of its own, answering prompts from any thread in one batch that rows join and leave.

    max_rows: rows at once. max_waiting: prompts that may wait, None for any number. options: as for ``generate``, for
    every row that does not say otherwise. A row has the tokens of a ``generate`` of its own, whatever else runs.
    ``submit`` gives a ``LiveRow``: iterate over it for tokens as they come, ``result()`` for all, ``cancel()`` to let
    it go. A row that cannot be answered costs the others nothing; where a forward of the batch fails, the rows in it
    get its error and the next ones run. Where not even that can be done, as on a device that is lost, all rows get the
    error and the batch is closed. As a context manager it is closed at the end.
    >>> with LiveBatch(model, max_rows=8, max_new_tokens=20) as batch:  # doctest: +SKIP
    ...     rows = [batch.submit(ids, temperature=0.7, do_sample=True, seed=n) for n, ids in enumerate(prompts)]
    ...     for token in rows[0]:
    ...         print(tokenizer.decode([token]), end="")
    ...     others = [row.result().new_ids for row in rows[1:]]
    """

    def __init__(self, model: Any, *, max_rows: int = 32, max_waiting: int | None = None, **options: Any) -> None:
        check_count("max_rows", max_rows)
        self.max_waiting, self._options = max_waiting, options
        self._plans = RowPlans(model)
        self._batch = RunningBatch(running_model(model, max_rows=max_rows, options=options), max_rows=max_rows)
        self._inbox: list[LiveRow] = []
        self._to_cancel: list[LiveRow] = []
        self._wake = threading.Condition()
        self._closing = self._dropping = False
        self._broken: BaseException | None = None  # what ended the thread
        self._pending: set[LiveRow] = set()  # rows that were submitted and have not ended
        self._thread = threading.Thread(target=self._work, name="afterlogits-live-batch", daemon=True)
        self._thread.start()

    def __enter__(self) -> "LiveBatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> int:
        """Rows in the batch now."""
        return len(self._batch.rows)

    @property
    def waiting(self) -> int:
        """Prompts that wait for a row."""
        with self._wake:
            return len(self._pending) - len(self._batch.rows)

    def submit(
        self,
        input_ids: Any,
        *,
        attention_mask: Any = None,
        seed: int | None = None,
        on_token: Callable[[int, str], None] | None = None,
        **options: Any,
    ) -> LiveRow:
        """Let a prompt wait for its row, at once and from any thread.

        input_ids: a list or tensor [P] or [1, P]. seed: of its draws, one from torch's generator if None. on_token:
        called in the batch's thread with each token and why the row ends with it ("" before), or with -1 and
        "cancelled" or "error"; it must be quick, and what it raises ends its row. options: as for ``generate``.
        Raises what ``generate`` raises for these options; ``queue.Full`` where ``max_waiting`` prompts wait;
        RuntimeError once closed.
        """
        row = LiveRow(self, on_token)
        ids = as_prompt(input_ids, attention_mask, self._plans.model.device)
        row._request = self._plans.row(ids, {**self._options, **options}, seed=seed, tag=row, on_token=row._put)
        with self._wake:
            if self._closing:
                why = "it was closed" if self._broken is None else f"it ended with {self._broken!r}"
                raise RuntimeError(f"batch must be open; {why}") from self._broken
            if self.max_waiting is not None and len(self._pending) - len(self._batch.rows) >= self.max_waiting:
                raise Full
            self._pending.add(row)
            self._inbox.append(row)
            self._wake.notify()
        return row

    def close(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Take no more prompts; end once every row has ended (``drain``), or cancel what has not."""
        with self._wake:
            self._closing, self._dropping = True, self._dropping or not drain
            self._wake.notify()
        self._thread.join(timeout)

    def _cancel(self, row: LiveRow) -> None:
        with self._wake:
            if not row.done:
                self._to_cancel.append(row)
                self._wake.notify()

    # The batch's thread.

    def _work(self) -> None:
        try:
            while self._take():
                try:
                    ended = self._batch.step()
                except Exception as error:  # whatever a forward raises, its rows are told and the thread goes on
                    ended = self._batch.abandon(error)
                for one in ended:
                    with self._wake:
                        self._pending.discard(one.request.tag)
                    one.request.tag._end(one)
        except BaseException as error:  # nothing runs any more, and nobody must wait for it
            self._break(error)

    def _break(self, error: BaseException) -> None:
        """Tell every row that has not ended of what ended the thread."""
        with self._wake:
            self._closing, self._broken = True, error
            pending, self._pending, self._inbox = self._pending, set(), []
            self._batch.rows.clear()
            self._batch.waiting.clear()
        told = error if isinstance(error, Exception) else RuntimeError(f"the batch's thread ended with {error!r}")
        for row in pending:
            assert row._request is not None
            row._end(FinishedRow(row._request, row._request.token_ids.cpu().long(), "error", told))

    def _take(self) -> bool:
        """Hand what has come in to the batch; wait where there is nothing to do. Whether to go on."""
        with self._wake:
            while self._batch.idle and not self._inbox and not self._closing:
                self._to_cancel.clear()
                self._wake.wait()
            coming, self._inbox = self._inbox, []
            leaving, self._to_cancel = self._to_cancel, []
            if self._dropping:
                leaving = [one.tag for one in (*self._batch.waiting, *(row.request for row in self._batch.rows))]
                leaving += coming
            done = self._closing and self._batch.idle and not coming
        for row in coming:
            assert row._request is not None
            self._batch.submit(row._request)
        for row in leaving:
            if not row.done and row._request is not None:
                self._batch.cancel(row._request)
        return not done
