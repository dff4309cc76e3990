"""Text embeddings from hidden states: four poolings, normalisation, and token vectors without their padding."""

from __future__ import annotations

import torch
from torch import Tensor

from ..probabilities import check_shape

POOLINGS = ("cls", "mean", "max", "last")


def pool(hidden: Tensor, attention_mask: Tensor, *, pooling: str = "mean", normalize: bool = False) -> Tensor:
    """One vector per text.

    hidden: [B, T, H] float. attention_mask: [B, T], 1 or True for real tokens, padded on either side.
    pooling: "cls" the first real token, "last" the last one, "mean" and "max" over the real tokens. "mean" adds up in
    float32 and returns the dtype of ``hidden``. normalize: to length 1 in the 2-norm; a zero vector stays zero.
    A text without tokens gives the zero vector. Padding never matters, NaN in it included.
    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[1, 1, 0]]))
    tensor([[2.]])
    """
    check_shape("hidden", hidden, "BTH", (None, None, None))
    batch, time, _ = hidden.shape
    check_shape("attention_mask", attention_mask, "BT", (batch, time))
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}; got {pooling!r}")
    real = attention_mask.bool()
    empty = ~real.any(dim=1, keepdim=True)
    if time == 0:
        vectors = hidden.new_zeros(batch, hidden.shape[2])
    elif pooling in ("cls", "last"):
        # The first of equal maxima: counted from the right for the last token.
        ranks = real.int() if pooling == "cls" else real.int().flip(1)
        place = ranks.argmax(dim=1)
        place = place if pooling == "cls" else time - 1 - place
        vectors = hidden[torch.arange(batch, device=hidden.device), place]
    elif pooling == "mean":
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = hidden.masked_fill(~real[:, :, None], 0).sum(dim=1, dtype=wide)
        vectors = (total / real.sum(dim=1, keepdim=True).clamp_min(1)).to(hidden.dtype)
    else:
        vectors = hidden.masked_fill(~real[:, :, None], -torch.inf).amax(dim=1)
    vectors = vectors.masked_fill(empty, 0)
    return torch.nn.functional.normalize(vectors, dim=-1) if normalize else vectors


def token_vectors(hidden: Tensor, attention_mask: Tensor) -> list[Tensor]:
    """The vectors of each text's own tokens, [T_i, H] each, special tokens included: what transformers'
    feature-extraction returns for every text alone. Views are not taken, so the padded batch can be freed.
    """
    check_shape("hidden", hidden, "BTH", (None, None, None))
    check_shape("attention_mask", attention_mask, "BT", tuple(hidden.shape[:2]))
    real = attention_mask.bool()
    return list(torch.split(hidden[real], real.sum(dim=1).tolist()))
