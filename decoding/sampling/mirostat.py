"""Mirostat v2: truncation at a surprise that is steered towards a target."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..options.per_row import row_option, select_option
from ..options.validation import FINITE, RowOption, check_logits


def apply_mirostat(logits: Tensor, max_surprise: RowOption) -> Tensor:
    """Mask the tokens whose surprise, ``-log2(p)``, is above ``max_surprise``; the most probable one always stays.

    logits: [B, V]. max_surprise: in bits, float or [B]; infinity keeps everything. Returns [B, V], dropped entries
    -inf. Probabilities are float32. Of several most probable tokens that are all above the limit, the first stays.
    Cost: one softmax and three passes. Source: Basu et al. 2021, arXiv:2007.14966, algorithm 2.
    >>> apply_mirostat(torch.tensor([[2.0, 1.0, 0.0]]), 1.0)  # surprises 0.59, 2.03, 3.47
    tensor([[2., -inf, -inf]])
    """
    check_logits(logits)
    option = row_option(
        "max_surprise", max_surprise, logits.shape[0], ("a number", lambda m: ~m.isnan()), logits.device
    )
    return _truncate(logits, option.float().reshape(-1, 1))


class MirostatStep:
    """Mirostat v2 as a step of a loop: `apply` truncates, `advance` learns from the token that was drawn.

    target_surprise (tau): > 0 bits, float or [B]; infinity is off. learning_rate (eta): float or [B]. The limit starts
    at ``2 * tau``; after a token whose surprise among those kept was s, it moves by ``-eta * (s - tau)``. It must be
    the last step before the draw, as in llama.cpp, where it draws the token itself.
    Source: Basu et al. 2021, arXiv:2007.14966, algorithm 2; llama.cpp `llama_sampler_init_mirostat_v2`.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        target_surprise: RowOption = 5.0,
        learning_rate: RowOption = 0.1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.target = row_option(
            "target_surprise", target_surprise, batch_size, ("> 0", lambda t: t > 0), device
        ).float()
        self.rate = row_option("learning_rate", learning_rate, batch_size, FINITE, device).float()
        self.max_surprise = (2.0 * self.target).expand(batch_size).clone()  # [N]
        self._kept: Tensor | None = None

    def apply(self, logits: Tensor) -> Tensor:
        """Drop what surprises more than each row's limit: logits [N, V] -> [N, V]; what is left is kept for
        ``advance``."""
        truncated = _truncate(logits, self.max_surprise[:, None])
        # Kept apart: whoever draws the token may overwrite the logits.
        self._kept = truncated.float().softmax(dim=-1)
        return truncated

    def advance(self, token_ids: Tensor, *, drawn: Tensor | None = None) -> None:
        """Learn from ``token_ids`` [N]. drawn: [N], what the draw gave, where something else was appended."""
        token_ids = token_ids if drawn is None else drawn
        if self._kept is None:
            raise RuntimeError("MirostatStep.advance must follow apply; got no apply in this step")
        chosen = self._kept.gather(1, token_ids.reshape(-1, 1).long().clamp(max=self._kept.shape[1] - 1))[:, 0]
        self._kept = None
        moved = self.max_surprise - self.rate * (-chosen.log2() - self.target)
        # A token that was not kept (a forced one, say) has no surprise to learn from.
        learns = (chosen > 0) & self.target.isfinite()
        self.max_surprise.copy_(torch.where(learns, moved, self.max_surprise))  # where a captured step finds it again

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.max_surprise = self.max_surprise[rows]
        self.target = select_option(self.target, rows)
        self.rate = select_option(self.rate, rows)
        if self._kept is not None:
            self._kept = self._kept[rows]

    def put_rows(self, rows: Tensor, other: MirostatStep) -> None:
        """Take what ``other``, a step of these rows alone, has learned."""
        self.max_surprise = self.max_surprise.index_copy(0, rows, other.max_surprise)


def _truncate(logits: Tensor, max_surprise: Tensor) -> Tensor:
    probs = logits.float().softmax(dim=-1)
    dropped = -probs.log2() > max_surprise
    best = probs.argmax(dim=-1, keepdim=True)
    # The best token goes only if it too is above the limit, and it stays even then.
    dropped.scatter_(1, best, False)
    return logits.masked_fill(dropped, -math.inf)
