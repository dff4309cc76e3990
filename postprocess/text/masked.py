"""Fill-mask: the most probable tokens at masked positions, any number of masks and texts at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..probabilities import check_positive, check_shape, refuse_nan

ROWS_AT_ONCE = 64  # a row is a whole vocabulary
FEW_ROWS = 4  # so many go one by one: torch shares several out to threads, which is not worth it


@dataclass(frozen=True)
class Fillings:
    """The best tokens of every masked position. M masks, K tokens."""

    token_ids: Tensor  # [M, K] int64
    scores: Tensor  # [M, K]


def masked_positions(token_ids: Tensor, mask_token_id: int) -> tuple[Tensor, Tensor]:
    """Where the masks are: (item [M], position [M]), by item and then position. token_ids: [B, T].

    ``hidden[item, position]`` is all that a language-model head has to see.
    """
    check_shape("token_ids", token_ids, "BT", (None, None))
    item, position = (token_ids == mask_token_id).nonzero(as_tuple=True)
    return item, position


def fill_mask(logits: Tensor, *, top_k: int = 5, targets: Tensor | None = None, compat: bool = True) -> Fillings:
    """The ``top_k`` most probable tokens at each masked position, best first.

    logits: [M, V] float, the masked positions alone. targets: [N] int64 token ids the choice is limited to, in the
    caller's order; probabilities stay those of the whole vocabulary. ``top_k`` larger than the choice returns all of it
    (transformers does so for targets and stops for the vocabulary).

    compat=True computes in the dtype of the logits, as transformers: in bfloat16 many tokens then share a probability,
    and torch.topk decides between them. compat=False computes in float32; equal probabilities by the lower position.
    Rows go through in chunks: memory grows with the vocabulary, not with the number of masks times it.
    Raises ValueError naming the mask if a logit is NaN (checked on the CPU).
    >>> fill_mask(torch.tensor([[0.0, 2.0, 1.0]]), top_k=2).token_ids
    tensor([[1, 2]])
    """
    check_shape("logits", logits, "MV", (None, None))
    check_positive("top_k", top_k)
    choices = logits.shape[1] if targets is None else targets.shape[0]
    if targets is not None:
        check_shape("targets", targets, "N", (None,))
        if choices == 0:
            raise ValueError("targets must hold at least one token id; got none")
        if bool(((targets < 0) | (targets >= logits.shape[1])).any()):
            raise ValueError(f"targets must be token ids below {logits.shape[1]}; got {targets.tolist()}")
    refuse_nan("logits", logits, "mask")
    k = min(top_k, choices)
    size = 1 if logits.device.type == "cpu" and logits.shape[0] <= FEW_ROWS else ROWS_AT_ONCE
    chunks = (logits[i : i + size] for i in range(0, logits.shape[0], size))
    parts = [_best(rows, k, targets, compat) for rows in chunks]
    if not parts:
        none = torch.zeros(0, k, dtype=torch.long, device=logits.device)
        return Fillings(none, logits.new_zeros(0, k))
    scores, ids = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return Fillings(ids, scores)


def _best(logits: Tensor, k: int, targets: Tensor | None, compat: bool) -> tuple[Tensor, Tensor]:
    probs = (logits if compat else logits.to(torch.promote_types(logits.dtype, torch.float32))).softmax(dim=-1)
    if targets is not None:
        probs = probs[:, targets]
    if compat:
        values, ids = probs.topk(k, dim=1)
    else:
        values, ids = probs.sort(dim=1, descending=True, stable=True)
        values, ids = values[:, :k], ids[:, :k]
    return values, ids if targets is None else targets.to(ids.device)[ids]
