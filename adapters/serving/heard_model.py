"""The model of a running batch with its logits overheard, so that rows can be told of log-probabilities."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ...decoding.sampling.logprobs import with_logprobs
from ...decoding.search.running_batch import AdmittingStepModel, PackingStepModel, RunningBatch
from .errors import refusal_of

if TYPE_CHECKING:
    from .text_rows import TextRow


@dataclass(frozen=True)
class HeardToken:
    """A token of a row, why the row ends with it ("" where it goes on), and its log-probability where that was asked
    for, with those of the best tokens, under the model's own logits."""

    row: "TextRow"
    token_id: int
    reason: str
    logprob: float | None = None
    top: Sequence[tuple[int, float]] = ()


@dataclass(frozen=True, eq=False)
class _Logits:
    """The logits [M, V] of a forward for the rows that asked, before any rule or filter wrote into them."""

    values: Tensor
    places: dict[int, int]


class HeardModel:
    """An ``AdmittingStepModel`` that keeps the logits of rows that ask for log-probabilities, and collects the tokens
    that a batch tells of (``hear``) until they are taken (``take``). ``batch``: the batch it is in."""

    batch: RunningBatch

    def __init__(self, inner: AdmittingStepModel) -> None:
        self.inner, self.joins = inner, inner.joins
        self._rows: dict[int, TextRow] = {}  # by the prompt that the batch hands over
        self._logits: _Logits | None = None
        self._heard: list[tuple[TextRow, int, str, _Logits | None]] = []

    def admit(self, prompts: Sequence[Tensor]) -> Tensor:
        """The inner model's, with the logits of rows that asked kept."""
        with _as_refusals():
            logits = self.inner.admit(prompts)
        return self._kept(logits, [self._rows.get(id(prompt)) for prompt in prompts])

    def step(self, token_ids: Tensor) -> Tensor:
        """The same for a step of the rows that run."""
        with _as_refusals():
            logits = self.inner.step(token_ids)
        return self._kept(logits, self._running())

    @property
    def packs(self) -> bool:
        """Whether the inner model reads prompts beside the rows that run."""
        return getattr(self.inner, "packs", False)

    def advance(self, token_ids: Sequence[Sequence[int]], prompts: Sequence[Tensor]) -> Tensor:
        """The same for rows and prompts in one forward. Of a row that asks only its newest token may be new."""
        with _as_refusals():
            logits = cast(PackingStepModel, self.inner).advance(token_ids, prompts)
        return self._kept(logits, [*self._running(), *(self._rows.get(id(prompt)) for prompt in prompts)])

    def _running(self) -> list[Any]:
        return [row.request.tag for row in self.batch.rows]

    def select_rows(self, rows: Tensor) -> None:
        """The inner model's."""
        self.inner.select_rows(rows)

    def know(self, row: "TextRow") -> None:
        """Expect a row whose prompt the batch will hand over."""
        self._rows[id(row.request.read_ids)] = row

    @property
    def known(self) -> list["TextRow"]:
        """The rows that are expected or run."""
        return list(self._rows.values())

    def forget(self, row: "TextRow") -> None:
        """Expect a row no more."""
        self._rows.pop(id(row.request.read_ids), None)

    def hear(self, row: "TextRow", token_id: int, reason: str) -> None:
        """A row has a new token; to be called right after the forward it comes from."""
        self._heard.append((row, token_id, reason, None if row.logprobs is None else self._logits))

    def take(self) -> list[HeardToken]:
        """The tokens since the last time, in their order."""
        heard, self._heard = self._heard, []
        return [token for _, group in groupby(heard, lambda one: id(one[3])) for token in _scored(list(group))]

    def _kept(self, logits: Tensor, rows: Sequence[Any]) -> Tensor:
        asking = [place for place, row in enumerate(rows) if row is not None and row.logprobs is not None]
        self._logits = None
        if asking:
            values = logits[torch.tensor(asking, device=logits.device)]  # a copy
            self._logits = _Logits(values, {id(rows[place]): number for number, place in enumerate(asking)})
        return logits


@contextmanager
def _as_refusals() -> Iterator[None]:
    """What is no Exception and yet ends a forward, as a panic of Rust does, is an error of its rows like any other."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        raise refusal_of(error) from error


def _scored(heard: Sequence[tuple["TextRow", int, str, _Logits | None]]) -> Iterator[HeardToken]:
    """The tokens of one forward, with their log-probabilities computed together."""
    logits = heard[0][3]
    if logits is None:
        yield from (HeardToken(row, token_id, reason) for row, token_id, reason, _ in heard)
        return
    places = torch.tensor([logits.places[id(row)] for row, *_ in heard], device=logits.values.device)
    tokens = torch.tensor([token_id for _, token_id, *_ in heard], device=logits.values.device)
    most = max(row.logprobs or 0 for row, *_ in heard)
    found = with_logprobs(logits.values[places], tokens, most)
    best = zip(found.top_token_ids.tolist(), found.top_logprobs.tolist(), strict=True)
    for (row, token_id, reason, _), score, (ids, scores) in zip(heard, found.logprobs.tolist(), best, strict=True):
        top = list(zip(ids, scores, strict=True))[: row.logprobs or 0]
        yield HeardToken(row, token_id, reason, score, top)
