"""Log-probability and perplexity of given texts, without a log-softmax of [B, T, V] in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..probabilities import check_shape

IGNORED = -100  # the label that training losses leave out
VALUES_AT_ONCE = 1 << 22  # logits read at a time; 16 MB in float32


@dataclass(frozen=True)
class SequenceScores:
    """How probable each text is. B texts, T positions."""

    token_logprobs: Tensor  # [B, T] float32; 0 where nothing is scored
    scored: Tensor  # [B, T] bool
    logprob: Tensor  # [B] float32, the sum over the scored tokens
    num_tokens: Tensor  # [B] int64

    @property
    def perplexity(self) -> Tensor:
        """[B] ``exp`` of minus the mean log-probability; NaN for a text with nothing to score."""
        return (-self.logprob / self.num_tokens).exp()

    def records(self) -> list[dict[str, float | int]]:
        """One ``{logprob, num_tokens, perplexity}`` per text, in plain Python numbers."""
        columns = (self.logprob.tolist(), self.num_tokens.tolist(), self.perplexity.tolist())
        return [{"logprob": p, "num_tokens": n, "perplexity": x} for p, n, x in zip(*columns, strict=True)]


def label_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of one label per row. logits: [N, V] float; labels: [N] int64; returns [N] float32 (or float64).

    The rows go through in chunks that stay in cache; each is read once. A label of -inf logit gives -inf. A row of -inf
    alone gives NaN.
    >>> label_logprobs(torch.zeros(1, 4), torch.tensor([2])).exp()
    tensor([0.2500])
    """
    check_shape("logits", logits, "NV", (None, None))
    check_shape("labels", labels, "N", (logits.shape[0],))
    rows, vocab_size = logits.shape
    wide = torch.promote_types(logits.dtype, torch.float32)
    out = torch.empty(rows, dtype=wide, device=logits.device)
    step = max(1, VALUES_AT_ONCE // max(vocab_size, 1))
    for i in range(0, rows, step):
        part = logits[i : i + step].to(wide)
        chosen = part.gather(1, labels[i : i + step, None])[:, 0]
        out[i : i + step] = chosen - part.logsumexp(dim=1)
    return out


def score_sequences(
    logits: Tensor, token_ids: Tensor, attention_mask: Tensor | None = None, *, shift: bool = True
) -> SequenceScores:
    """Log-probabilities of the texts that were fed to the model.

    logits: [B, T, V] float. token_ids: [B, T] int64; -100 is not scored. attention_mask: [B, T], real tokens, padded on
    either side. shift=True scores token t with the logits at t - 1, as causal models predict; the first real token of a
    text then has no prediction and is not scored. shift=False scores token t with the logits at t (encoder-decoder and
    masked models). Sums in float32, or float64 for float64 logits.
    Raises ValueError naming the row if a token id is outside the vocabulary (checked on the CPU).
    """
    check_shape("logits", logits, "BTV", (None, None, None))
    batch, time, vocab_size = logits.shape
    check_shape("token_ids", token_ids, "BT", (batch, time))
    scored = token_ids != IGNORED
    if attention_mask is not None:
        check_shape("attention_mask", attention_mask, "BT", (batch, time))
        scored = scored & attention_mask.bool()
    if token_ids.device.type == "cpu":
        outside = (scored & ((token_ids < 0) | (token_ids >= vocab_size))).any(dim=1)
        if bool(outside.any()):
            raise ValueError(
                f"token_ids must be below {vocab_size} or {IGNORED}; got others in row {int(outside.int().argmax())}"
            )
    if shift and time:
        # The token before must be real as well: the logits of padding predict nothing.
        predicted = torch.ones_like(scored[:, :-1]) if attention_mask is None else attention_mask[:, :-1].bool()
        scored = torch.cat([torch.zeros_like(scored[:, :1]), scored[:, 1:] & predicted], dim=1)
    item, position = scored.nonzero(as_tuple=True)
    wide = torch.promote_types(logits.dtype, torch.float32)
    token_logprobs = torch.zeros(batch, time, dtype=wide, device=logits.device)
    flat = logits.reshape(-1, vocab_size)  # a view of contiguous logits; rows are picked chunk by chunk
    source = item * time + position - int(shift)
    step = max(1, VALUES_AT_ONCE // max(vocab_size, 1))
    for i in range(0, item.shape[0], step):
        part = slice(i, i + step)
        chosen = token_ids[item[part], position[part]]
        token_logprobs[item[part], position[part]] = label_logprobs(flat[source[part]], chosen)
    return SequenceScores(token_logprobs, scored, token_logprobs.sum(dim=1), scored.sum(dim=1))
