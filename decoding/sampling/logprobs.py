"""Log-probabilities of drawn tokens and of the best ones, without a log-softmax of the vocabulary."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.candidates import largest
from ..kernels.large_logits import row_mass
from ..options.validation import check_count, check_logits


@dataclass(frozen=True)
class Sampled:
    """Drawn tokens with their log-probabilities under the given logits (before temperature and filters).

    token_ids: [N] int64. logprobs: [N] float32. top_token_ids, top_logprobs: [N, n], best first.
    """

    token_ids: Tensor
    logprobs: Tensor
    top_token_ids: Tensor
    top_logprobs: Tensor


def with_logprobs(logits: Tensor, token_ids: Tensor, n: int) -> Sampled:
    """Log-probabilities of the given tokens and of the n best under ``logits``, without a [B, V] result.

    A token of -1 stands for none; its log-probability means nothing.
    """
    if not logits.shape[0]:
        return Sampled(token_ids, logits[:, 0].float(), token_ids[:, None][:, :0], logits[:, :0].float())
    top, top_ids = largest(logits, max(n, 1))
    best = top[:, :1].to(torch.float32)
    total = best + row_mass(logits, 1.0, best).log().to(torch.float32)
    chosen = logits.gather(1, token_ids[:, None].clamp(min=0)).to(torch.float32) - total
    return Sampled(token_ids, chosen[:, 0], top_ids[:, :n], top[:, :n].to(torch.float32) - total)


def top_logprobs(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best log-probabilities of each row and their token ids, best first: [N, M] each, float32.

    The log-softmax is formed for those alone. Values agree with ``torch.log_softmax`` to 1e-6; the order is that of
    the logits. A row without a finite logit gives NaN.
    Cost: one read of the row for the candidates, one exponential per logit for the normaliser.
    count: >= 1; M = min(count, V).
    >>> top_logprobs(torch.tensor([[0.0, 1.0, 1.0]]).log(), 1)[0]
    tensor([[-0.6931]])
    """
    check_logits(logits)
    check_count("count", count)
    values, token_ids = largest(logits, count)
    values = values.to(torch.float32)
    top = values[:, :1]
    return values - top - row_mass(logits, 1.0, top).log().to(torch.float32), token_ids
