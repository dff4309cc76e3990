"""A sampling call compiled for a batch: one draw per row and step, with torch's own stream or with a seed per row."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

from ..kernels.counter_noise import counter_keys, row_key
from ..options.numpy_or_torch import as_tensor, on_host
from ..options.validation import Steps, check_count, check_logits, check_rows, check_seeds, check_step
from .draw_steps import DrawSteps
from .ladder import Batch, ways_for
from .logprobs import Sampled, with_logprobs
from .params import SamplingParams
from .plan import Plan
from .reference_draw import filtered, xtc_chance

_FEW = 4  # up to so many counters are formed in Python


class Sampler:
    """A sampling call compiled for a batch, to be used at every step of a loop.

    batch_size: rows of the batch at the start; per-row options and seeds have this length and are indexed by ``rows``.
    seeds, generator: as in ``sample``. A step per row, like seeds, is indexed by ``rows``.
    drawn, fallbacks: how many rows the fast paths were asked for, and how many of them they could not prove.
    A draw walks the ways of ``ladder.LADDER`` that apply, until every row has its token.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        batch_size: int,
        vocab_size: int,
        device: torch.device | str,
        seeds: Sequence[int] | Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self._start(Plan(params, batch_size, vocab_size, torch.device(device)), seeds, generator)

    @classmethod
    def of_plan(cls, plan: Plan, seeds: Sequence[int] | Tensor | None, generator: torch.Generator | None) -> "Sampler":
        """A sampler of options that have been read."""
        sampler = cls.__new__(cls)
        sampler._start(plan, seeds, generator)
        return sampler

    def _start(self, plan: Plan, seeds: Sequence[int] | Tensor | None, generator: torch.Generator | None) -> None:
        self.plan, self.generator, self.seeds = plan, generator, None
        self.batch_size, self.vocab_size, self.device = plan.batch_size, plan.vocab_size, plan.device
        self.params, self.filters, self.few, self.validate = plan.params, plan.filters, plan.few, plan.validate
        self.drawn = 0  # rows that the fast paths were asked for
        self.fallbacks = 0  # of them, rows that went through transformers' own arithmetic
        self.draw_steps = (
            DrawSteps(plan.options, batch_size=plan.batch_size, device=plan.device) if plan.has_steps else None
        )
        self.seed_numbers: list[int] = []
        if seeds is not None:
            self.seeds = check_seeds(seeds, plan.batch_size, plan.device)
            self.seed_numbers = self.seeds.tolist() if plan.few is not None else []

    @overload
    def select(
        self,
        logits: Tensor,
        *,
        step: Steps = 0,
        rows: Tensor | None = None,
        logprobs: None = None,
    ) -> Tensor: ...
    @overload
    def select(self, logits: Tensor, *, step: Steps = 0, rows: Tensor | None = None, logprobs: int) -> Sampled: ...
    def select(
        self,
        logits: Tensor,
        *,
        step: Steps = 0,
        rows: Tensor | None = None,
        logprobs: int | None = None,
    ) -> Tensor | Sampled:
        """Draw one token for each of the N rows still alive: logits [N, V] -> token ids [N].

        rows: [N] int64, which rows of the original batch these are; None means all of them. Without seeds the stream
        is consumed for the whole original batch, so that rows which left do not change the draws of the others.
        """
        check_logits(logits)
        count, columns = logits.shape
        if rows is None and count != self.batch_size:
            raise ValueError(f"logits must have {self.batch_size} rows; got {count}")
        if rows is not None:
            check_rows(rows, count, self.batch_size)
        if columns != self.vocab_size:
            raise ValueError(f"logits must have {self.vocab_size} columns; got {columns}")
        if logprobs is not None:
            check_count("logprobs", logprobs, 0)
        step = check_step(step, self.batch_size)
        token_ids = self.draw(logits, step, rows)
        if logprobs is None:
            return token_ids
        return with_logprobs(logits, token_ids, logprobs)

    def draw(self, logits: Tensor, step: int | Tensor, rows: Tensor | None) -> Tensor:
        """One token for each row, by the first of the ways that can prove it."""
        batch = Batch(self, logits, step, rows)
        self.drawn += batch.count if self.plan.has_fast_ways else 0
        with np.errstate(all="ignore"):  # what overflows is uncertain, and transformers' operations decide
            for draw in ways_for(self.plan, self.seeds is not None):
                if batch.left:
                    draw(batch)
        return torch.empty(0, dtype=torch.int64, device=logits.device) if batch.tokens is None else batch.tokens

    def process(self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None) -> Tensor:
        """The filtered logits [N, V], as transformers returns them in ``scores``; before mirostat and adaptive-p."""
        params = self.params if rows is None else self.params.select_rows(rows)
        keys = self.keys(step, rows)
        return filtered(logits, params, xtc_chance(params, keys, rows, self.batch_size, self.device, self.generator))

    def keys(self, step: int | Tensor, rows: Tensor | None = None) -> Tensor | None:
        """The rows' counters at a step, [N, 1], or None without seeds."""
        if self.seeds is None:
            return None
        seeds = on_host(self.seeds if rows is None else self.seeds[rows])
        if not isinstance(step, Tensor) and self.batch_size <= _FEW and self.plan.on_cpu:
            few = [[row_key(seed, int(step))] for seed in seeds.tolist()]
            return torch.from_numpy(np.array(few, dtype=np.uint64).reshape(-1, 1).view(np.int64))
        if not isinstance(step, Tensor):
            return as_tensor(counter_keys(seeds, int(step)))
        steps = step if rows is None or not step.dim() else step[rows]
        return as_tensor(counter_keys(seeds, on_host(steps.to(self.device, torch.int64).reshape(-1))))
