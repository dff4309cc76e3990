"""A sampling call compiled for a batch: one draw per row and step, with torch's own stream or with a seed per row."""

from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..kernels.counter_noise import counter_exponential, counter_keys
from ..kernels.exponential_race import MARGIN, shortlist_winners
from ..kernels.peaks import Listed, Peaks
from ..kernels.rejection import draw_flat, flat_rows
from ..kernels.shortlist import Shortlist, covers, decide, shortlists
from ..kernels.torch_stream import exponentials_at, exponentials_of, stream_is_known
from ..options.batch_options import CompiledParams, unlike_ways
from ..options.numpy_or_torch import Array, as_tensor, on_host
from ..options.validation import Steps, check_count, check_finite, check_logits, check_rows, check_seeds, check_step
from .chain import apply_chain
from .draw_steps import DrawSteps
from .logprobs import Sampled, with_logprobs
from .params import SamplingParams
from .reference_draw import FullDraws
from .small_batch import FewRows, Prefix, few_rows


class Sampler:
    """A sampling call compiled for a batch, to be used at every step of a loop.

    batch_size: rows of the batch at the start; per-row options and seeds have this length and are indexed by ``rows``.
    seeds, generator: as in ``sample``. A step per row, like seeds, is indexed by ``rows``.
    drawn, fallbacks: how many rows the fast paths were asked for, and how many of them they could not prove.
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
        self.batch_size, self.vocab_size, self.device = batch_size, vocab_size, torch.device(device)
        self.seeds = None if seeds is None else check_seeds(seeds, batch_size, self.device)
        self.generator = generator
        self.validate = params.validate or self.device.type == "cpu"
        self.drawn = 0  # rows that the fast paths were asked for
        self.fallbacks = 0  # of them, rows that went through the library's own arithmetic
        self.params: CompiledParams = params.compiled(batch_size, self.device)
        self._full = FullDraws(batch_size, vocab_size, self.device, generator)
        self.draw_steps = DrawSteps(params, batch_size=batch_size, device=self.device)
        self._few: FewRows | None = None if self.draw_steps else few_rows(self.params, self.device)
        self._ways = None if self.seeds is None else unlike_ways(self.params, self.draw_steps.rows_on, batch_size)
        self._few_seeds = self.seeds.tolist() if self._few is not None and self.seeds is not None else []

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
        drawn = None if self._few is None else self._draw_few(self._few, logits, step, rows)
        token_ids = self._draw(logits, step, rows) if drawn is None else drawn
        if logprobs is None:
            return token_ids
        return with_logprobs(logits, token_ids, logprobs)

    def process(self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None) -> Tensor:
        """The filtered logits [N, V], as transformers returns them in ``scores``; before mirostat and adaptive-p."""
        params = self.params if rows is None else self.params.select_rows(rows)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return apply_chain(wide, params, chance=self._full.chance(params, self.keys(step, rows), rows))

    def keys(self, step: int | Tensor, rows: Tensor | None = None) -> Tensor | None:
        """The rows' counters at a step, [N, 1], or None without seeds."""
        if self.seeds is None:
            return None
        seeds = on_host(self.seeds if rows is None else self.seeds[rows])
        if not isinstance(step, Tensor):
            return as_tensor(counter_keys(seeds, int(step)))
        steps = step if rows is None or not step.dim() else step[rows]
        return as_tensor(counter_keys(seeds, on_host(steps.to(self.device, torch.int64).reshape(-1))))

    def _draw_few(self, few: FewRows, logits: Tensor, step: int | Tensor, rows: Tensor | None) -> Tensor | None:
        """The same tokens from a few Python numbers, or None, and then nothing was drawn."""
        count = logits.shape[0]
        if not few.may_draw(count, logits.dtype) or type(step) is not int:
            return None
        original = range(count) if rows is None else rows.tolist()
        if self.seeds is not None:
            seeds = self._few_seeds if rows is None else [self._few_seeds[row] for row in original]
            tokens = few.seeded(logits, seeds, step)
        else:
            prefixes = few.prefixes(logits) if stream_is_known() else None
            tokens = None if prefixes is None else self._race_prefixes(logits, prefixes, original, rows)
        if tokens is None:
            return None
        self.drawn += len(tokens)
        if len(tokens) == 1:  # without torch.tensor, which takes as long as three other operations
            return logits.new_full((1,), tokens[0], dtype=torch.int64)
        return torch.tensor(tokens, device=logits.device)

    def _race_prefixes(
        self, logits: Tensor, prefixes: list[Prefix], original: Sequence[int], rows: Tensor | None
    ) -> list[int]:
        """The winners in torch's stream; the library's own arithmetic where its rounding decides."""
        snapshots = {row: torch.empty(0) for row in original}
        places = [
            row * self.vocab_size + x for row, prefix in zip(original, prefixes, strict=True) for x in prefix.token_ids
        ]
        noise = exponentials_at(np.array(places), self.batch_size, self.vocab_size, self.generator, snapshots).tolist()
        tokens, first = [], 0
        for i, prefix in enumerate(prefixes):
            last = first + len(prefix.token_ids)
            token = prefix.winner(noise[first:last], MARGIN + 4 * prefix.error)
            if token is None:
                self.fallbacks += 1
                token = int(self._full.draw_row(logits, self.params, None, i, snapshots[original[i]]))
            tokens.append(token)
            first = last
        return tokens

    def _draw(self, logits: Tensor, step: int | Tensor, rows: Tensor | None) -> Tensor:
        if self._ways is None:
            params = self.params if rows is None else self.params.select_rows(rows)
            return self._draw_alike(logits, params, step, rows, self.draw_steps)
        if self.validate:
            check_finite(logits)
        if rows is None:
            rows = torch.arange(self.batch_size, device=self.device)
        ways, tokens = self._ways[rows.cpu()], torch.empty_like(rows)
        for way in sorted({*ways.tolist()}):
            some = (ways == way).nonzero()[:, 0].to(self.device)
            params = self.params.select_rows(rows[some]).of_way(way >> 1)
            tokens[some] = self._draw_alike(
                logits[some], params, step, rows[some], self.draw_steps if way & 1 else None
            )
        return tokens

    def _draw_alike(
        self,
        logits: Tensor,
        params: CompiledParams,
        step: int | Tensor,
        rows: Tensor | None,
        draw_steps: DrawSteps | None,
    ) -> Tensor:
        """One token for each of some rows [N, V], where the same options are on in all of them."""
        if params.greedy is True or not logits.shape[0]:
            if self.validate:
                check_finite(logits)
            return first_argmax(logits)
        keys = self.keys(step, rows)
        known = keys is not None or (logits.device.type == "cpu" and stream_is_known())
        if known and not draw_steps and covers(params, logits.dtype):
            with np.errstate(all="ignore"):  # what overflows is uncertain, and goes the library's way
                return self._draw_from_shortlists(logits, params, keys, rows)
        if self.validate:
            check_finite(logits)
        flat, top = ([], None) if keys is None or draw_steps else flat_rows(logits, params)
        if not flat or keys is None:
            return self._full.draw(logits, params, keys, rows, draw_steps)
        tokens = logits.new_empty(len(logits), dtype=torch.int64)
        others = torch.tensor(sorted({*range(len(logits))} - {*flat}), dtype=torch.int64, device=logits.device)
        if len(others):
            tokens[others] = self._full.draw(logits[others], params.select_rows(others), keys[others], others)
        tokens[flat] = self._draw_flat(logits, top, params, keys, flat)
        return tokens

    def _draw_flat(self, logits: Tensor, top: Array, params: CompiledParams, keys: Tensor, flat: list[int]) -> Tensor:
        """Draws of the rows that ``flat_rows`` found; top: the largest logit of every row."""
        if len(flat) < len(logits):
            rows = torch.tensor(flat, device=logits.device)
            logits, top, params, keys = logits[rows], top[flat], params.select_rows(rows), keys[rows]

        def kept(row: int) -> Tensor:
            one = params.select_rows(torch.tensor([row], device=logits.device))
            return apply_chain(logits[row : row + 1].to(torch.float32), one)[0] > -torch.inf

        tokens, by_the_book = draw_flat(logits, top, params, on_host(keys), kept)
        self.fallbacks += by_the_book
        return torch.tensor(tokens, device=logits.device)

    def _draw_from_shortlists(
        self, logits: Tensor, params: CompiledParams, keys: Tensor | None, rows: Tensor | None
    ) -> Tensor:
        """The same tokens from each row's largest logits; in full for the rows whose shortlist cannot prove it."""
        count = logits.shape[0]
        self.drawn += count
        flat: list[int] = []

        top: Array | None = None

        def aside(known: Peaks | Listed) -> set[int]:
            nonlocal flat, top
            flat, top = flat_rows(logits, params, known) if keys is not None else ([], None)
            return set(flat)

        parts, unsettled = shortlists(logits, params, validate=self.validate, aside=aside)
        snapshots: dict[int, Tensor] = {}
        if keys is None:
            noises = self._stream_noise(parts, count, rows, snapshots)
        else:
            start = on_host(keys)
            noises = [
                counter_exponential(start if some is None else start[some], part.token_ids) for some, part in parts
            ]
        elsewhere = {*flat, *(int(some[0]) for some, _ in parts if some is not None)}
        tokens = (
            np.empty(count, dtype=np.int64)
            if logits.device.type == "cpu"
            else logits.new_empty(count, dtype=torch.int64)
        )
        doubtful = unsettled
        for (some, part), noise in zip(parts, noises, strict=True):
            those = params if some is None else params.select_rows(as_tensor(some))
            drawn, certain = shortlist_winners(part, noise, those, keys is not None)
            if some is None:
                tokens = drawn
            else:
                tokens[some] = drawn
            if bool(certain.all()):
                continue
            for place in as_tensor(~certain).nonzero()[:, 0].tolist():
                row = place if some is None else int(some[0])
                if row in unsettled or (some is None and row in elsewhere):
                    continue
                if part.loose:
                    one = params.select_rows(torch.tensor([row]))
                    again = decide(part.listed.row(place), one, logits[row : row + 1], exact=True)
                    drawn, certain = shortlist_winners(again, noise[place : place + 1], one, keys is not None)
                    if bool(certain):
                        tokens[row] = drawn[0]
                        continue
                doubtful = [*doubtful, row]
        tokens = as_tensor(tokens)
        self.fallbacks += len(doubtful)
        for row in doubtful:
            tokens[row] = self._full.draw_row(
                logits, params, keys, row, snapshots.get(row if rows is None else int(rows[row]))
            )
        if flat and keys is not None:
            tokens[flat] = self._draw_flat(logits, top, params, keys, flat)
        return tokens

    def _stream_noise(
        self, parts: list[tuple[Array | None, Shortlist]], count: int, rows: Tensor | None, snapshots: dict[int, Tensor]
    ) -> list[Array]:
        original = np.arange(count) if rows is None else rows.numpy()
        snapshots.update(dict.fromkeys(original.tolist(), torch.empty(0)))
        listed = [
            (original if some is None else original[some])[:, None] * self.vocab_size + part.token_ids
            for some, part in parts
        ]
        return exponentials_of(listed, self.batch_size, self.vocab_size, self.generator, snapshots)
