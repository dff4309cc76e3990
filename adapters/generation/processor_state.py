"""Steps for transformers' processors that hold more than options: a watermark's state, n-grams found, a function."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin
from transformers.generation import logits_process as library

from ...decoding.processors.allowed_tokens import PrefixAllowedTokensStep
from ...decoding.processors.ngrams import EncoderNoRepeatNgramStep
from ...decoding.watermark.synthid import SynthIDKeys, SynthIDStep

__all__ = ["can_be_steps", "encoder_ngrams_step", "ngrams_as_rows", "prefix_step", "synthid_step"]


class SynthIDProcessorStep(SynthIDStep):
    """The step of a library's processor, whose state it starts from and keeps up to date.

    As in transformers, the contexts stay where they are when beams change places.
    """

    def __init__(self, processor: Any, token_ids: Tensor):
        keys = SynthIDKeys(
            processor.keys.tolist(), ngram_len=processor.ngram_len, sampling_table=processor.sampling_table
        )
        super().__init__(
            keys,
            batch_size=token_ids.shape[0],
            context_history_size=processor.context_history_size,
            skip_first_ngram_calls=processor.skip_first_ngram_calls,
        )
        self.processor = processor
        state = processor.state
        if state is None:
            processor._init_state(token_ids.shape[0])
        else:
            self.resume(state.context, state.context_history, int(state.num_calls))
            self.advance(token_ids[:, -1])

    def apply(self, logits: Tensor) -> Tensor:
        logits = super().apply(logits)
        state = self.processor.state
        state.context, state.context_history, state.num_calls = self.context, self.newest_first(), self.num_steps
        return logits

    def select_rows(self, rows: Tensor) -> None:
        if rows.shape[0] < self.context.shape[0]:  # finished rows leave
            super().select_rows(rows)


def synthid_step(processor: Any, token_ids: Tensor) -> SynthIDProcessorStep:
    """The SynthID watermark from ``token_ids`` [N, T] on."""
    return SynthIDProcessorStep(processor, token_ids)


def encoder_ngrams_step(processor: Any, token_ids: Tensor) -> EncoderNoRepeatNgramStep:
    """The ban on the encoder's n-grams, which the processor has found."""
    rows = ngrams_as_rows(processor.generated_ngrams)
    return EncoderNoRepeatNgramStep(token_ids, processor.ngram_size, encoder_token_ids=rows.to(token_ids.device))


def ngrams_as_rows(found: Sequence[Mapping[tuple[int, ...], Sequence[int]]]) -> Tensor:
    """Texts [B, S] that hold just these n-grams, each a context and the tokens that follow it: one after the other,
    parted by an id that no vocabulary has.

    >>> ngrams_as_rows([{(1,): [3, 4]}]).tolist()
    [[1, 3, 2147483647, 1, 4, 2147483647]]
    """
    apart = 2**31 - 1
    rows = [
        [token for context, tokens in row.items() for last in tokens for token in (*context, last, apart)]
        for row in found
    ]
    width = max((len(row) for row in rows), default=0)
    filled = [row + [apart] * (width - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.int64, device="cpu").reshape(len(rows), width)


def prefix_step(processor: Any, token_ids: Tensor) -> PrefixAllowedTokensStep:
    """The tokens that a function of prompt and ids allows."""
    return PrefixAllowedTokensStep(token_ids, processor._prefix_allowed_tokens_fn, num_beams=processor._num_beams)


def can_be_steps(processor: Any, rows: int) -> bool:
    """Whether the step does what a processor of these does, with ``rows`` rows."""
    if isinstance(processor, library.PrefixConstrainedLogitsProcessor):
        # 4.57 leaves nothing where all that is allowed is -inf already.
        return hasattr(GenerationMixin, "_prefill")
    if isinstance(processor, library.SynthIDTextWatermarkLogitsProcessor):
        state = processor.state
        return not processor.debug_mode and (state is None or state.context.shape[0] == rows)
    return True
