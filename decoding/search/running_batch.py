"""Rows that join and leave while a batch runs: each with its own options, seed and reasons to end."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from ..grammar.grammar_step import go_on_together
from ..grammar.greedy_grammar import GreedyChoice
from .row_choice import RowChoice
from .row_requests import FinishedRow, RowRequest
from .running_row import RunningRow

__all__ = ["AdmittingStepModel", "PackingStepModel", "RunningBatch"]


class AdmittingStepModel(Protocol):
    """A model whose batch takes rows in while it runs. N rows run now, M join.

    ``joins`` False: rows are only taken in where none runs, so that batch follows batch. A model may also have
    ``packs`` and ``advance``, see ``PackingStepModel``.
    """

    joins: bool

    def admit(self, prompts: Sequence[Tensor]) -> Tensor:
        """Run the prompts, each [P] int64, as rows N to N + M - 1; return the logits after them, [M, V]."""
        ...

    def step(self, token_ids: Tensor) -> Tensor:
        """Append a token to each row, [N] int64; return the logits that follow, [N, V]."""
        ...

    def select_rows(self, rows: Tensor) -> None:
        """Make row i what row ``rows[i]`` was; ``rows`` [M] int64 without repeats."""
        ...


class PackingStepModel(AdmittingStepModel, Protocol):
    """One that also reads several tokens of a row, and prompts beside them, in one forward.

    ``packs``: whether it does so now. Where ``advance`` raises, the rows are as they were before.
    """

    @property
    def packs(self) -> bool:
        """Whether ``advance`` may be called."""
        ...

    def advance(self, token_ids: Sequence[Sequence[int]], prompts: Sequence[Tensor]) -> Tensor:
        """Append one token or more to each row, and run the prompts as rows N to N + M - 1; the logits that follow the
        last token of each, [N + M, V]."""
        ...


class RunningBatch:
    """A batch that finished rows leave and waiting prompts join, of up to ``max_rows`` rows.

    A row has the tokens it has alone, up to near ties that other matrix sizes may round differently.
    join_share: prompts join once this share of the rows is free (or as many as wait), so that a prompt's forward is
    shared; 0 joins at once. Into a model that ``packs`` they always join at once, in the forward of the rows that run.
    A model whose ``longest`` is a number computes all its rows differently once one is longer: a prompt that may grow
    beyond it runs with no other.
    prefill_tokens: at most so many, padding included, go through one prefill, unless one prompt has more. Not safe for
    threads; see ``adapters.LiveBatch``.
    Cost: one forward a step over the rows that run, one a group of joining prompts where the model does not pack, one
    read of the chosen tokens.
    >>> from afterlogits.decoding.search.step_model import TableBatch
    >>> model = TableBatch(lambda ids: torch.eye(5)[(ids[-1] + 1) % 5])
    >>> batch = RunningBatch(model, max_rows=2)
    >>> for first in (0, 1, 2):
    ...     batch.submit(RowRequest(token_ids=torch.tensor([first]), eos_token_ids=[4], tag=first))
    >>> [(row.tag, ended.new_ids.tolist()) for ended in batch.run() for row in [ended.request]]
    [(1, [2, 3, 4]), (0, [1, 2, 3, 4]), (2, [3, 4])]
    """

    def __init__(
        self,
        model: AdmittingStepModel,
        *,
        max_rows: int = 32,
        join_share: float = 0.25,
        prefill_tokens: int = 4096,
    ) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows must be an integer >= 1; got {max_rows}")
        self._longest: int | None = getattr(model, "longest", None)
        self.model = model
        self.max_rows, self.prefill_tokens = max_rows, prefill_tokens
        self.join_count = max(1, round(max_rows * join_share))
        self.waiting: deque[RowRequest] = deque()
        self.rows: list[RunningRow] = []
        self._choice: RowChoice | None = None
        self._in_grammars = GreedyChoice()
        self._cancelled: dict[int, RowRequest] = {}  # by address, which is theirs while they are held
        self._ended: list[FinishedRow] = []  # since the last step that came to its end

    def submit(self, request: RowRequest) -> None:
        """Let a prompt wait for its row. Raises ValueError for a prompt of no tokens."""
        if request.token_ids.ndim != 1 or not request.token_ids.numel():
            raise ValueError(f"token_ids must have shape [P], P >= 1; got {list(request.token_ids.shape)}")
        self.waiting.append(request)

    def cancel(self, request: RowRequest) -> None:
        """Let a row leave at the next step, or a prompt that waits before it joins."""
        self._cancelled[id(request)] = request

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self.rows and not self.waiting

    def run(self) -> Iterator[FinishedRow]:
        """Step until nothing runs and nothing waits; yield rows as they end."""
        while not self.idle:
            yield from self.step()

    def step(self) -> list[FinishedRow]:
        """Let prompts join, give every row a token (and those certain to follow it); return the rows that ended.

        Where a forward raises, rows that had ended before it are returned by ``abandon`` or by the next step.
        """
        self._ended += self._drop_cancelled()
        while not (self.rows and self._packs()) and (prompts := self._joining()):
            self._ended += self._admit(prompts)
        if self.rows:
            self._go_on(self._joining() if self._packs() else [])
        return self._told()

    def abandon(self, error: Exception) -> list[FinishedRow]:
        """End every row that runs with ``error``, as after a forward that failed; what waits goes on waiting."""
        self._ended += [row.finish("error", error) for row in self.rows]
        self._keep([])
        return self._told()

    def _told(self) -> list[FinishedRow]:
        ended, self._ended = self._ended, []
        return ended

    # Joining.

    def _packs(self) -> bool:
        return bool(getattr(self.model, "packs", False))

    def _joining(self) -> list[RowRequest]:
        """The prompts that join now, as many as one forward reads."""
        free, packs = self.max_rows - len(self.rows), self._packs() and bool(self.rows)
        if self.rows and self._waits(free, packs):
            return []
        prompts: list[RowRequest] = []
        longest = total = 0
        while self.waiting and len(prompts) < free:
            if (self.rows or prompts) and any(map(self._runs_alone, (self.waiting[0], *prompts[:1]))):
                break
            length = self.waiting[0].read_ids.shape[0]
            longest, total = max(longest, length), total + length
            # In the rows' forward there is no padding.
            if prompts and (total if packs else longest * (len(prompts) + 1)) > self.prefill_tokens:
                break
            prompts.append(self.waiting.popleft())
        return prompts

    def _runs_alone(self, request: RowRequest) -> bool:
        """Whether a row may grow so long that all rows beside it would be computed differently."""
        if self._longest is None:
            return False
        limit = request.max_new_tokens
        return limit is None or request.read_ids.shape[0] + limit > self._longest

    def _waits(self, free: int, packs: bool) -> bool:
        """Whether prompts wait: for the end of a row that runs alone, those with a forward of their own until more rows
        are free to share it."""
        if self._runs_alone(self.rows[0].request):
            return True
        return not packs and self._joins_later(free)

    def _joins_later(self, free: int) -> bool:
        return not self.model.joins or free < min(len(self.waiting), self.join_count)

    def _begun(self, prompts: Sequence[RowRequest]) -> list[RunningRow]:
        """Rows for prompts that the model has not read; those whose rules cannot be built end at once."""
        rows = []
        for prompt in prompts:
            try:
                rows.append(RunningRow(prompt))
            except Exception as error:
                self._ended.append(FinishedRow(prompt, prompt.token_ids.cpu().long(), "error", error))
        return rows

    def _go_on(self, prompts: Sequence[RowRequest]) -> None:
        """One forward for the rows that run and for prompts that join in it; a prompt that fails costs no row."""
        joining = self._begun(prompts)
        fed = [row.fed for row in self.rows]
        if not joining and all(len(tokens) == 1 for tokens in fed):
            self._ended += self._extend(self.model.step(torch.tensor(fed, device="cpu")[:, 0]), range(len(self.rows)))
            return
        model = cast(PackingStepModel, self.model)
        try:
            logits = model.advance(fed, [row.request.read_ids for row in joining])
        except Exception:
            if not joining:
                raise
        else:
            self._enter(joining, logits)
            self._ended += self._extend(logits, range(len(self.rows)))
            return
        self.waiting.extendleft(row.request for row in reversed(joining))  # what fails now is no fault of theirs
        self._go_on([])
        for _ in joining:
            self.waiting.popleft()
        self._ended += self._run_prompts(joining)

    def _admit(self, prompts: Sequence[RowRequest]) -> list[FinishedRow]:
        """Let prompts join by a forward of their own."""
        rows = self._begun(prompts)
        return self._run_prompts(rows) if rows else []

    def _run_prompts(self, joining: list[RunningRow]) -> list[FinishedRow]:
        """Run the prompts and give each its first token; one that cannot be run costs the others nothing."""
        try:
            logits = self.model.admit([row.request.read_ids for row in joining])
        except Exception as error:
            if len(joining) == 1:
                return [joining[0].finish("error", error)]
            half = len(joining) // 2
            if self.model.joins or self.rows:
                return [*self._run_prompts(joining[:half]), *self._run_prompts(joining[half:])]
            self.waiting.extendleft(row.request for row in reversed(joining[half:]))
            return self._run_prompts(joining[:half])
        first = len(self.rows)
        self._enter(joining, logits)
        return self._extend(logits, range(first, len(self.rows)))

    def _enter(self, rows: Sequence[RunningRow], logits: Tensor) -> None:
        """Rows that the model has read are of the batch from now on, and the choice is one for all."""
        self.rows += rows
        for number, row in enumerate(self.rows):
            row.number = number
        self._choice = RowChoice([row.request for row in self.rows], logits.shape[-1], logits.device)

    # The end of a step.

    def _extend(self, logits: Tensor, places: range) -> list[FinishedRow]:
        """Choose a token for the rows at ``places``, see who ends, and let those leave."""
        rows = [self.rows[place] for place in places]
        tokens, errors = self._choose(logits, rows)
        now = time.monotonic()
        finished = [rows[place].finish("error", error) for place, error in errors.items()]
        gone = {places[place] for place in errors}
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if place in errors:
                continue
            try:
                if not row.append(token, now, jumps=self._packs()):
                    continue
                finished.append(row.finish())
            except Exception as error:  # of a criterion, a rule or a listener of its own
                finished.append(row.finish("error", error))
            gone.add(places[place])
        if gone:
            self._keep([place for place in range(len(self.rows)) if place not in gone])
        go_on_together(row.rule for row in self.rows if row.rule is not None)
        return finished

    def _choose(self, logits: Tensor, rows: Sequence[RunningRow]) -> tuple[list[int], dict[int, Exception]]:
        """A token for every row, and the errors of rows whose logits or rules allow none, by place."""
        errors: dict[int, Exception] = {}
        for place, row in enumerate(rows):
            if row.stages:
                try:
                    own = logits[place : place + 1]
                    processed = row.processed(own)
                    if processed.data_ptr() != own.data_ptr():
                        logits[place] = processed[0]
                except Exception as error:
                    errors[place] = error
        try:
            return self._select(logits, rows), errors
        except ValueError:
            tokens = []
            for place, row in enumerate(rows):
                try:
                    tokens += self._select(logits[place : place + 1], [row])
                except ValueError as error:
                    errors.setdefault(place, error)
                    tokens.append(0)
            return tokens, errors

    def _select(self, logits: Tensor, rows: Sequence[RunningRow]) -> list[int]:
        """The tokens of rows by their own options; most probable ones inside grammars are found for all together."""
        if all(row.grammar is None for row in rows):
            return self._drawn(logits, rows)
        drawing = [place for place, row in enumerate(rows) if row.request.params is not None]
        drawn = self._drawn(logits[drawing], [rows[place] for place in drawing]) if drawing else []
        tokens: list[int] = self._in_grammars.choose(logits, [row.outlook for row in rows]).tolist()
        for place, token in zip(drawing, drawn, strict=True):
            tokens[place] = token
        return tokens

    def _drawn(self, logits: Tensor, rows: Sequence[RunningRow]) -> list[int]:
        assert self._choice is not None
        chosen = self._choice.select(
            logits, rows=[row.number for row in rows], lengths=[row.new_length for row in rows]
        )
        tokens: list[int] = chosen.tolist()
        return tokens

    # Leaving.

    def _drop_cancelled(self) -> list[FinishedRow]:
        """Rows and waiting prompts that were cancelled since the last step, ended; the others stay in their order."""
        if not self._cancelled:
            return []
        gone, self._cancelled = self._cancelled, {}
        unborn = [request for request in self.waiting if id(request) in gone]
        self.waiting = deque(request for request in self.waiting if id(request) not in gone)
        ended = [place for place, row in enumerate(self.rows) if id(row.request) in gone]
        finished = [self.rows[place].finish("cancelled") for place in ended]
        if ended:
            self._keep([place for place in range(len(self.rows)) if place not in ended])
        return [*finished, *(RunningRow(request).finish("cancelled") for request in unborn)]

    def _keep(self, staying: list[int]) -> None:
        """Keep the rows at these places. The last of them fill the gaps, so that few rows of a cache move."""
        count = len(staying)
        order = np.arange(count)
        kept = set(staying)
        tail = iter(place for place in staying if place >= count)
        for place in range(count):
            if place not in kept:
                order[place] = next(tail)
        self.model.select_rows(torch.from_numpy(order))
        self.rows = [self.rows[place] for place in order]
