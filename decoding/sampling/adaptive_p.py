"""Adaptive-p: logits reshaped around a target probability that follows what was drawn before."""

from __future__ import annotations

import torch
from torch import Tensor

from ..options.per_row import row_option, select_option
from ..options.validation import RowOption, check_logits

# The constants of llama.cpp: how wide the bump around the target is, its height, how fast it falls.
_WIDTH = 0.3
_PEAK = 5.0
_SHARPNESS = 10.0


def apply_adaptive_p(logits: Tensor, target: RowOption) -> Tensor:
    """Replace each logit by a bump around ``target``: 5 where the token's probability equals it, less further away.

    logits: [B, V]. target: a probability of at most 1, float or [B]; negative is off. -inf stays -inf. With
    d = abs(p - target) / 0.3 the new logit is 5 - 10 * d * d / (1 + d): quadratic near the target, linear further out.
    Order among tokens is lost on purpose, so it must be the last step before the draw.
    Cost: one softmax and five passes.
    Source: llama.cpp `llama_sampler_init_adaptive_p` (src/llama-sampler.cpp, ggml-org/llama.cpp#17927).
    >>> apply_adaptive_p(torch.tensor([[0.0, 0.0, -torch.inf]]), 0.5)
    tensor([[5., 5., -inf]])
    """
    check_logits(logits)
    option = row_option("target", target, logits.shape[0], ("<= 1", lambda t: t <= 1), logits.device)
    column = option.float().reshape(-1, 1)
    return _reshape(logits, logits.float().softmax(dim=-1), column)


class AdaptivePStep:
    """Adaptive-p as a step of a loop: the target moves against the average probability of the tokens drawn so far.

    target: in [0, 1], float or [B]; negative is off. decay: in [0, 0.99], float or [B], how long the average remembers,
    about ``1 / (1 - decay)`` tokens. The average starts at the target; a step aims at ``2 * target - average``. A token
    that could not be drawn (its logit was -inf: it was forced, say) teaches nothing, and nor do rows of which
    ``advance`` is told that another one was drawn.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        target: RowOption,
        decay: RowOption = 0.9,
        device: torch.device | str = "cpu",
    ) -> None:
        self.target = (
            row_option("target", target, batch_size, ("<= 1", lambda t: t <= 1), device)
            .float()
            .expand(batch_size)
            .clone()
        )
        self.decay = row_option(
            "decay", decay, batch_size, ("in [0, 0.99]", lambda d: (d >= 0) & (d <= 0.99)), device
        ).float()
        self.total_weight = (1.0 / (1.0 - self.decay)).expand(batch_size).clone()  # [N]
        self.weighted_sum = self.target / (1.0 - self.decay)  # [N]
        self._probs: Tensor | None = None

    def aim(self) -> Tensor:
        """The probability aimed at in this step: [N], negative for the rows that are off."""
        aim = (2.0 * self.target - self.weighted_sum / self.total_weight).clamp(0.0, 1.0)
        return torch.where(self.target < 0, self.target, aim)

    def apply(self, logits: Tensor) -> Tensor:
        """Reshape the logits [N, V] around the probability aimed at; what they were is kept for ``advance``."""
        probs = logits.float().softmax(dim=-1)
        self._probs = probs.masked_fill(logits.isneginf(), -1.0)
        return _reshape(logits, probs, self.aim()[:, None])

    def advance(self, token_ids: Tensor, *, drawn: Tensor | None = None) -> None:
        """Learn from ``token_ids`` [N]. drawn: [N], what the draw gave, where something else was appended."""
        if self._probs is None:
            raise RuntimeError("AdaptivePStep.advance must follow apply; got no apply in this step")
        chosen = self._probs.gather(1, token_ids.reshape(-1, 1).long().clamp(max=self._probs.shape[1] - 1))[:, 0]
        self._probs = None
        learns = chosen >= 0 if drawn is None else (chosen >= 0) & (drawn.reshape(-1) == token_ids.reshape(-1))
        # In place, where a captured step finds them again.
        self.weighted_sum.copy_(torch.where(learns, chosen + self.decay * self.weighted_sum, self.weighted_sum))
        self.total_weight.copy_(torch.where(learns, 1.0 + self.decay * self.total_weight, self.total_weight))

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.target = self.target[rows]
        self.decay = select_option(self.decay, rows)
        self.total_weight = self.total_weight[rows]
        self.weighted_sum = self.weighted_sum[rows]
        if self._probs is not None:
            self._probs = self._probs[rows]

    def put_rows(self, rows: Tensor, other: AdaptivePStep) -> None:
        """Take what ``other``, a step of these rows alone, has learned."""
        self.total_weight = self.total_weight.index_copy(0, rows, other.total_weight)
        self.weighted_sum = self.weighted_sum.index_copy(0, rows, other.weighted_sum)


def _reshape(logits: Tensor, probs: Tensor, target: Tensor) -> Tensor:
    """`probs` [N, V] float32, `target` [N, 1] or [1, 1] float32; negative targets leave their rows alone."""
    distance = ((probs - target) * (1.0 / _WIDTH)).abs()
    bump = _PEAK - _SHARPNESS * distance * distance / (1.0 + distance)
    unchanged = logits.isneginf() | (target < 0)
    return torch.where(unchanged, logits, bump.to(logits.dtype))
