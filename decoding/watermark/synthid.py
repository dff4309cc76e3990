"""The SynthID watermark: tournament sampling folded into the probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..options.validation import check_logits

_MULTIPLIER = 6364136223846793005  # newlib's linear congruential generator


class SynthIDKeys:
    """The watermark's keys and its table of coin flips, shared by every row and step.

    ngram_len: the context has one token less. keys: one per layer of the tournament. The table is drawn from a
    generator seeded with ``sampling_table_seed`` on ``device``, unless it is given as ``sampling_table``, int64 [size].
    """

    def __init__(
        self,
        keys: Sequence[int],
        *,
        ngram_len: int = 5,
        sampling_table_size: int = 2**16,
        sampling_table_seed: int = 0,
        sampling_table: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if ngram_len < 2:
            raise ValueError(f"ngram_len must be >= 2; got {ngram_len}")
        if len(keys) == 0:
            raise ValueError("keys must hold at least one key; got none")
        if sampling_table_size < 1:
            raise ValueError(f"sampling_table_size must be >= 1; got {sampling_table_size}")
        self.keys = list(keys)
        self.ngram_len = ngram_len
        if sampling_table is None:
            generator = torch.Generator(device=device).manual_seed(sampling_table_seed)
            sampling_table = torch.randint(0, 2, (sampling_table_size,), generator=generator, device=device)
        self.table = sampling_table

    def context_hash(self, contexts: Tensor) -> Tensor:
        """[N] int64 of contexts [N, ngram_len - 1]; products wrap around."""
        hashed = torch.ones(contexts.shape[0], dtype=torch.int64, device=contexts.device)
        for column in contexts.long().unbind(dim=1):
            hashed = (hashed + column) * _MULTIPLIER + 1
        return hashed

    def g_values(self, token_hash: Tensor, key: int) -> Tensor:
        """0 or 1 for every hashed n-gram under one key, in the shape of ``token_hash``."""
        return self.table[((token_hash + key) * _MULTIPLIER + 1) % self.table.shape[0]]


def apply_synthid(logits: Tensor, context_hash: Tensor, *, keys: SynthIDKeys) -> Tensor:
    """Run every layer of the tournament on the probabilities of each row.

    logits: [B, V]. context_hash: [B] int64, from `SynthIDKeys.context_hash`. Returns log-probabilities [B, V]; what has
    probability 0 becomes the smallest finite value. Each layer moves mass to the tokens whose coin shows 1:
    p <- p * (1 + g - sum(g * p)).
    Cost: four passes over [B, V] per key, in int64 and in the type of the logits.
    Source: Dathathri et al. 2024, Nature 634, doi:10.1038/s41586-024-08025-4; transformers 5.23
    `SynthIDTextWatermarkLogitsProcessor`, which this equals bit for bit on the CPU.
    """
    check_logits(logits)
    if context_hash.dtype != torch.int64 or context_hash.shape != logits.shape[:1]:
        raise ValueError(
            f"context_hash must be an int64 tensor of shape {[logits.shape[0]]}, one per row; "
            f"got {context_hash.dtype} {list(context_hash.shape)}"
        )
    probs = logits.softmax(dim=1)
    vocabulary = torch.arange(logits.shape[1], device=logits.device)
    token_hash = (context_hash[:, None] + vocabulary) * _MULTIPLIER + 1  # [B, V]
    for key in keys.keys:
        coin = keys.g_values(token_hash, key).to(probs.dtype)
        mass = (coin * probs).sum(dim=1, keepdim=True)
        # The sum stays 1: what tokens with a coin gain, the others lose.
        probs = probs * (1 + coin - mass)
    logprobs = probs.log()
    return torch.where(logprobs.isfinite(), logprobs, torch.finfo(logprobs.dtype).min)


class SynthIDStep:
    """The SynthID watermark as a step of a loop.

    State per row, starting empty at the first step whatever the prompt: the last ``ngram_len - 1`` generated tokens,
    and the hashes of the last ``context_history_size`` contexts. A context met before is not watermarked again. With
    ``skip_first_ngram_calls`` the first ``ngram_len - 1`` steps leave the logits alone and are not remembered.
    `apply` must be called once per step, for all rows.
    """

    def __init__(
        self,
        keys: SynthIDKeys,
        *,
        batch_size: int,
        context_history_size: int = 1024,
        skip_first_ngram_calls: bool = False,
    ) -> None:
        if context_history_size < 1:
            raise ValueError(f"context_history_size must be >= 1; got {context_history_size}")
        self.keys = keys
        self.skip_first_ngram_calls = skip_first_ngram_calls
        device = keys.table.device
        self.context = torch.zeros((batch_size, keys.ngram_len - 1), dtype=torch.int64, device=device)
        self.history = torch.zeros((batch_size, context_history_size), dtype=torch.int64, device=device)
        self.num_steps = 0
        self._next = 0  # the oldest entry of the history, overwritten next

    def apply(self, logits: Tensor) -> Tensor:
        """The watermarked logits [N, V]; a row whose context it has seen before keeps its own, as in transformers."""
        self.num_steps += 1
        if self.skip_first_ngram_calls and self.num_steps < self.keys.ngram_len:
            return logits
        hashed = self.keys.context_hash(self.context)
        # A hash of 0 is what an empty place of the history holds, here as in transformers.
        repeated = (self.history == hashed[:, None]).any(dim=1, keepdim=True)
        self.history[:, self._next] = hashed
        self._next = (self._next + 1) % self.history.shape[1]
        return torch.where(repeated, logits, apply_synthid(logits, hashed, keys=self.keys))

    def resume(self, context: Tensor, newest_first: Tensor, num_steps: int) -> None:
        """Go on from a state: the last tokens, the contexts met as `newest_first` gives them, the number of steps."""
        self.context, self.history = context, newest_first.flip(1)
        self.num_steps, self._next = num_steps, 0

    def newest_first(self) -> Tensor:
        """The hashes of the last contexts, [B, context_history_size], 0 where there were fewer."""
        return self.history.roll(-self._next, dims=1).flip(1)

    def advance(self, token_ids: Tensor) -> None:
        """Take the token that each row was given, [N], into the context of ``ngram_len - 1`` tokens."""
        self.context = torch.cat([self.context[:, 1:], token_ids.reshape(-1, 1).long()], dim=1)

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.context = self.context[rows]
        self.history = self.history[rows]
