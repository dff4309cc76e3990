"""Classifier-free guidance: the combination of a conditional and an unconditional prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.row_blocks import by_pieces
from ..kernels.threshold_masks import is_cuttable
from ..options.per_row import row_column, row_option
from ..options.validation import FINITE, RowOption, check_logits


def apply_guidance(
    logits: Tensor, unconditional_logits: Tensor, guidance_scale: RowOption, *, normalize: bool = True
) -> Tensor:
    """Move ``logits`` away from ``unconditional_logits`` by ``guidance_scale``.

    logits, unconditional_logits: [B, V] of the same prompt with and without the condition (or with a negative prompt).
    guidance_scale: finite, float or [B]; 1.0 is off, above 1.0 strengthens the condition, 0.0 ignores it.
    With ``normalize`` both are turned to log-probabilities first and the result is in that space, as transformers 5.23
    does for language models; a scale of 1.0 then returns log_softmax(logits). Without it the raw logits are combined,
    as for MusicGen, where the caller splits one batch into its halves.
    Cost: two log_softmax and three passes over [B, V], in pieces that stay in cache (float32 on the CPU).
    Source: Sanchez et al. 2023, arXiv:2306.17806, equation 7; Copet et al. 2023, arXiv:2306.05284 (MusicGen).
    >>> apply_guidance(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]]), 2.0, normalize=False)
    tensor([[3., 0.]])
    """
    check_logits(logits)
    check_logits(unconditional_logits, "unconditional_logits")
    if unconditional_logits.shape != logits.shape:
        raise ValueError(
            f"unconditional_logits must have the shape of logits, {list(logits.shape)}; "
            f"got {list(unconditional_logits.shape)}"
        )
    option = row_option("guidance_scale", guidance_scale, logits.shape[0], FINITE, logits.device)
    scale = row_column(option, logits)
    if not normalize:
        difference = (logits - unconditional_logits).to(scale.dtype)
        return unconditional_logits + (difference * scale).to(logits.dtype)
    return by_pieces(logits, lambda some: _guided(logits[some], unconditional_logits[some], scale[some]))


def _guided(logits: Tensor, unconditional_logits: Tensor, scale: Tensor) -> Tensor:
    conditional = logits.log_softmax(dim=-1)
    unconditional = unconditional_logits.log_softmax(dim=-1)
    off = scale == 1.0
    plain = is_cuttable(logits) and is_cuttable(unconditional_logits) and scale.dtype == torch.float32
    if plain and not bool(off.any()):  # in place, which a gradient would not survive
        return conditional.sub_(unconditional).mul_(scale).add_(unconditional)
    guided = (scale * (conditional - unconditional).to(scale.dtype)).to(logits.dtype) + unconditional
    return torch.where(off, conditional, guided)
