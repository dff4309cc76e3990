"""From logits to tokens: one draw per row, with torch's own stream or with a seed per row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from .chain import apply_chain
from .noise import counter_exponential, counter_keys, counter_uniform
from .params import PARAM_NAMES, CompiledParams, SamplingParams
from .rows import check_count, check_logits

_XTC_COIN = 0x7FFFFFFF  # the token id whose noise decides XTC in seeded mode; no vocabulary reaches it


@dataclass(frozen=True)
class Sampled:
    """Drawn tokens with their log-probabilities under the given logits (before temperature and filters).

    token_ids: [N] int64. logprobs: [N] float32. top_token_ids, top_logprobs: [N, n], best first.
    """

    token_ids: Tensor
    logprobs: Tensor
    top_token_ids: Tensor
    top_logprobs: Tensor


@overload
def sample(
    logits: Tensor, params: SamplingParams | None = None, *, logprobs: None = None, **options: Any
) -> Tensor: ...
@overload
def sample(logits: Tensor, params: SamplingParams | None = None, *, logprobs: int, **options: Any) -> Sampled: ...
def sample(
    logits: Tensor,
    params: SamplingParams | None = None,
    *,
    seeds: Sequence[int] | Tensor | None = None,
    step: int | Tensor = 0,
    generator: torch.Generator | None = None,
    logprobs: int | None = None,
    **options: Any,
) -> Tensor | Sampled:
    """Draw one token per row.

    logits: [B, V] float; float16 and bfloat16 are computed in float32, as transformers does. params or options: what
    ``SamplingParams`` takes, the one or the other.
    seeds: one int per row. A row's token then depends on its seed, ``step`` and logits alone: the same in any batch, in
    any order, on any device. step: an int, or one per row.
    Without seeds the draw consumes ``generator`` (torch's global one by default) as transformers' ``softmax`` and
    ``multinomial`` do: the same tokens for the same seed, and the same generator state afterwards.
    logprobs: also return the log-probability of the drawn token and of the n best, under the logits as given.
    Returns token ids [B] int64, or ``Sampled`` if logprobs is given.
    Raises ValueError or TypeError naming the argument and the row before anything is drawn. Rows with NaN, with +inf or
    without a finite value are refused on the CPU, and elsewhere with ``validate=True``.
    >>> sample(torch.tensor([[0.0, 3.0, 1.0]]), temperature=0.0)
    tensor([1])
    """
    check_logits(logits)
    if params is not None and options:
        raise TypeError(f"sample takes params or options, not both; got params and {sorted(options)}")
    unknown = sorted(set(options) - set(PARAM_NAMES))
    if unknown:
        raise TypeError(f"sample got an unknown option {unknown[0]!r}")
    params = params or SamplingParams(**options)
    batch_size, vocab_size = logits.shape
    sampler = Sampler(
        params, batch_size=batch_size, vocab_size=vocab_size, device=logits.device, seeds=seeds, generator=generator
    )
    return (
        sampler.select(logits, step=step) if logprobs is None else sampler.select(logits, step=step, logprobs=logprobs)
    )


class Sampler:
    """A sampling call compiled for a batch, to be used at every step of a loop.

    batch_size: rows of the batch at the start; per-row options and seeds have this length and are indexed by ``rows``.
    seeds, generator: as in ``sample``.
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
        self.seeds = None if seeds is None else _read_seeds(seeds, batch_size, self.device)
        self.generator = generator
        self.validate = params.validate or self.device.type == "cpu"
        self.params: CompiledParams = params.compiled(batch_size, self.device)

    @overload
    def select(
        self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None, logprobs: None = None
    ) -> Tensor: ...
    @overload
    def select(
        self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None, logprobs: int
    ) -> Sampled: ...
    def select(
        self, logits: Tensor, *, step: int | Tensor = 0, rows: Tensor | None = None, logprobs: int | None = None
    ) -> Tensor | Sampled:
        """Draw one token for each of the N rows still alive: logits [N, V] -> token ids [N].

        rows: [N] int64, which rows of the original batch these are; None means all of them. Without seeds the stream
        is consumed for the whole original batch, so that rows which left do not change the draws of the others.
        """
        check_logits(logits)
        if rows is None and logits.shape[0] != self.batch_size:
            raise ValueError(f"logits must have {self.batch_size} rows; got {logits.shape[0]}")
        if rows is not None and rows.shape != logits.shape[:1]:
            raise ValueError(f"rows must be of shape [{logits.shape[0]}], one per row; got {list(rows.shape)}")
        if logits.shape[1] != self.vocab_size:
            raise ValueError(f"logits must have {self.vocab_size} columns; got {logits.shape[1]}")
        if logprobs is not None:
            check_count("logprobs", logprobs, 0)
        if self.validate:
            check_finite(logits)
        params = self.params if rows is None else self.params.select_rows(rows)
        token_ids = self._draw(logits, params, step, rows)
        if logprobs is None:
            return token_ids
        return with_logprobs(logits, token_ids, logprobs)

    def process(self, logits: Tensor, *, rows: Tensor | None = None) -> Tensor:
        """The filtered logits [N, V] that the draw is made from, as transformers returns them in ``scores``."""
        params = self.params if rows is None else self.params.select_rows(rows)
        return apply_chain(logits.to(torch.promote_types(logits.dtype, torch.float32)), params)

    def _draw(self, logits: Tensor, params: CompiledParams, step: int | Tensor, rows: Tensor | None) -> Tensor:
        best = logits.argmax(-1) if params.greedy is not False else None
        if params.greedy is True:
            assert best is not None
            return best
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.seeds is None:
            chance = None
            if "xtc_probability" in params.on:
                chance = torch.rand(self.batch_size, generator=self.generator, device=self.device)
                chance = chance if rows is None else chance[rows]
            drawn = self._draw_from_stream(apply_chain(wide, params, chance=chance), rows)
        else:
            keys = counter_keys(self.seeds if rows is None else self.seeds[rows], step)
            coin = torch.full((1,), _XTC_COIN, dtype=torch.int32, device=self.device)
            chance = counter_uniform(keys, coin)[:, 0] if "xtc_probability" in params.on else None
            kept = apply_chain(wide, params, chance=chance).to(torch.float64)
            noise = counter_exponential(keys, torch.arange(self.vocab_size, device=self.device))
            drawn = (kept - noise.log()).argmax(-1)
        return drawn if best is None else torch.where(params.greedy[:, 0], best, drawn)  # type: ignore[index]

    def _draw_from_stream(self, kept: Tensor, rows: Tensor | None) -> Tensor:
        probs = kept.softmax(-1)
        if rows is None:
            return torch.multinomial(probs, 1, generator=self.generator)[:, 0]
        noise = torch.empty(self.batch_size, self.vocab_size, dtype=probs.dtype, device=self.device)
        return (probs / noise.exponential_(generator=self.generator)[rows]).argmax(-1)


def _read_seeds(seeds: Sequence[int] | Tensor, batch_size: int, device: torch.device) -> Tensor:
    if not isinstance(seeds, Tensor):
        if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
            raise TypeError("seeds must be ints, one per row")
        wrapped = [(seed + 2**63) % 2**64 - 2**63 for seed in seeds]
        seeds = torch.tensor(wrapped, dtype=torch.int64)
    if seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool:
        raise TypeError(f"seeds must be integers; got {seeds.dtype}")
    if seeds.shape != (batch_size,):
        raise ValueError(f"seeds must be of shape [{batch_size}], one per row; got {list(seeds.shape)}")
    return seeds.to(device=device, dtype=torch.int64)


def check_finite(logits: Tensor) -> None:
    """Raise if a row has a NaN, a +inf or nothing above -inf. Costs one read of the logits."""
    if logits.shape[0]:
        check_row_maxima(logits.amax(-1))


def check_row_maxima(maxima: Tensor) -> None:
    """The same check from the rows' maxima [N]: amax carries NaN."""
    good = maxima.isfinite()
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        value = maxima[row].item()
        found = {float("inf"): "+inf", float("-inf"): "only -inf"}.get(value, "NaN")
        raise ValueError(f"logits must have no NaN, no +inf and a finite value in every row; got {found} in row {row}")


def with_logprobs(logits: Tensor, token_ids: Tensor, n: int) -> Sampled:
    """Log-probabilities of the given tokens and of the n best under ``logits``, without a [B, V] result."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    top, top_ids = logits.topk(min(n, logits.shape[1]))
    total = (
        torch.cat([part.to(wide).logsumexp(-1, keepdim=True) for part in logits.split(8)])
        if len(logits)
        else top[:, :0]
    )
    chosen = logits.gather(1, token_ids[:, None]).to(wide)
    return Sampled(token_ids, (chosen - total)[:, 0], top_ids, top.to(wide) - total)
