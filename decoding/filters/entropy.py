"""Filters that look at the entropy or the spread of a row: typical-p, epsilon, eta, top-h, top-n-sigma, XTC, and
dynamic temperature.

Signatures and conventions as in ``filters.py``. The first four equal transformers 5.23 bit for bit on the CPU, the
last three follow llama.cpp.
"""

import math

import torch
from torch import Tensor

from ..kernels.candidates import largest
from ..kernels.row_blocks import by_pieces
from ..options.validation import (
    HALF_OPEN_UNIT,
    NON_NEGATIVE,
    OPEN_UNIT,
    POSITIVE,
    UNIT,
    RowOption,
    as_border,
    check_count,
    check_logits,
    divided,
    of_rows,
    on_device_of,
    per_row,
    scaled,
)

TOP_H_TOKENS = 100  # top-h looks at this many tokens of a row, as its authors and transformers do

__all__ = [
    "apply_dynamic_temperature",
    "apply_epsilon",
    "apply_eta",
    "apply_top_h",
    "apply_top_n_sigma",
    "apply_typical_p",
    "apply_xtc",
]


def apply_typical_p(logits: Tensor, typical_p: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep the tokens whose surprise is closest to the entropy of the row, until their mass reaches ``typical_p``.

    logits: [B, V] float. typical_p: in (0, 1], float or [B]; 1.0 keeps every token.
    Returns [B, V]; dropped entries are -inf. Tokens as typical as the last one kept survive too.
    Cost: one sort of every row, for rounding depends on where torch's sort leaves equal distances; a draw alone
    (``sample``) needs none.
    Source: Meister et al. 2022, arXiv:2202.00666.
    >>> apply_typical_p(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), 0.2)
    tensor([[-inf, 1., -inf, -inf]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    mass = per_row("typical_p", typical_p, logits.shape[0], logits.device, OPEN_UNIT)
    if not isinstance(mass, Tensor) and mass == 1.0:
        return logits.clone()
    return by_pieces(logits, lambda some: _typical(logits[some], of_rows(mass, some), min_tokens_to_keep))


def _typical(logits: Tensor, mass: float | Tensor, min_tokens_to_keep: int) -> Tensor:
    """The tokens whose surprise is closest to the row's entropy, until they hold ``mass``; all equally close ones.

    logits: [B, V] in the type that is computed in. mass: a number or [B, 1]; rows of 1 and above keep everything.
    Cost: one sort of each row.
    """
    logprobs = logits.log_softmax(-1)
    # A sum without NaN: 0 * -inf of a masked token counts as 0.
    entropy = -(logprobs * logprobs.exp()).nansum(-1, keepdim=True)
    surprise = (-logprobs - entropy).abs()
    distance, order = surprise.sort(dim=-1)
    # The softmax is taken anew in the sorted order, as transformers takes it: its normaliser rounds by that order.
    reached = logits.gather(-1, order).softmax(-1).cumsum(-1)
    last = (reached < as_border(mass, logits.dtype)).sum(1, keepdim=True).clamp_(max=logits.shape[1] - 1)
    kept = surprise <= distance.gather(1, last)
    if min_tokens_to_keep > 1:
        kept.scatter_(1, order[:, :min_tokens_to_keep], True)
    if isinstance(mass, Tensor):
        kept |= mass >= 1.0
    return logits.masked_fill(~kept, -math.inf)


def apply_epsilon(logits: Tensor, epsilon: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Mask tokens whose probability is below ``epsilon``.

    logits: [B, V] float. epsilon: in [0, 1), float or [B]; 0 keeps every token.
    Returns [B, V]; dropped entries are -inf. The ``min_tokens_to_keep`` largest logits and their equals survive.
    Cost: one softmax and one masked copy, in pieces that stay in cache (float32 on the CPU).
    Source: Hewitt et al. 2022, arXiv:2210.15191.
    >>> apply_epsilon(torch.tensor([[2.0, 1.0, 0.0]]), 0.1)
    tensor([[2., 1., -inf]])
    """
    check_logits(logits)
    keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    cutoff = as_border(per_row("epsilon", epsilon, logits.shape[0], logits.device, HALF_OPEN_UNIT), logits.dtype)
    return by_pieces(logits, lambda some: _above_cutoff(logits[some], of_rows(cutoff, some), keep))


def apply_eta(logits: Tensor, eta: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Mask tokens whose probability is below the smaller of ``eta`` and sqrt(eta) * exp(-entropy).

    logits: [B, V] float. eta: in [0, 1), float or [B]; 0 keeps every token.
    Returns [B, V]; dropped entries are -inf. The ``min_tokens_to_keep`` largest logits and their equals survive.
    Cost: two softmax, the entropy and one masked copy, in pieces that stay in cache (float32 on the CPU).
    Source: Hewitt et al. 2022, arXiv:2210.15191.
    >>> apply_eta(torch.tensor([[2.0, 1.0, -3.0]]), 0.1)
    tensor([[2., 1., -inf]])
    """
    check_logits(logits)
    epsilon = per_row("eta", eta, logits.shape[0], logits.device, HALF_OPEN_UNIT)
    keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    # The root is taken in float32 whatever the logits' type, then both are rounded to it.
    cutoff = on_device_of(logits.device, epsilon).to(torch.float32).expand(logits.shape[0], 1)

    def kept(some: slice) -> Tensor:
        likely = torch.exp(-_entropy(_normalised(logits[some]))) * cutoff[some].sqrt().to(logits.dtype)
        return _above_cutoff(logits[some], torch.minimum(cutoff[some].to(logits.dtype), likely), keep)

    return by_pieces(logits, kept)


def _above_cutoff(logits: Tensor, cutoff: float | Tensor, min_tokens_to_keep: int) -> Tensor:
    probs = logits.softmax(-1)
    drop = probs < cutoff
    # The largest logits are as probable as the most probable token: none of them is dropped unless all are.
    if min_tokens_to_keep > 1 or logits.device.type != "cpu" or bool((probs.amax(-1, keepdim=True) < cutoff).any()):
        drop &= logits < largest(logits, min_tokens_to_keep)[0][:, -1:]
    return logits.masked_fill(drop, -math.inf)


def apply_top_h(logits: Tensor, top_h: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Keep the most probable tokens while their share of the entropy stays within ``top_h``.

    logits: [B, V] float. top_h: in (0, 1], float or [B]. Only the 100 largest logits are looked at and nothing outside
    them is kept, so 1.0 is not off.
    Returns [B, V]; dropped entries are -inf. ``min_tokens_to_keep`` tokens survive (transformers knows only 1).
    Cost: one top-k and one fill.
    Source: arXiv:2509.02510.
    >>> apply_top_h(torch.tensor([[2.0, 1.0, 0.0]]), 0.8)
    tensor([[2., 1., -inf]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    share = per_row("top_h", top_h, logits.shape[0], logits.device, OPEN_UNIT)
    best, token_ids = logits.topk(min(TOP_H_TOKENS, logits.shape[1]))
    normalised = _normalised(best)
    probs = normalised.softmax(-1)
    # Shares of the entropy of the 100 alone, normalised among themselves.
    spent = (-probs * probs.log()).cumsum(-1)
    keep = spent <= scaled(_entropy(normalised), share)
    keep[:, :min_tokens_to_keep] = True
    return torch.full_like(logits, -math.inf).scatter_(1, token_ids, best.masked_fill(~keep, -math.inf))


def _normalised(logits: Tensor) -> Tensor:
    return logits - logits.logsumexp(-1, keepdim=True)


def _entropy(normalised: Tensor) -> Tensor:
    # As torch.distributions.Categorical: -inf is clamped to the smallest number so that 0 * -inf counts as 0.
    finite = normalised.clamp(min=torch.finfo(normalised.dtype).min)
    return -(finite * normalised.softmax(-1)).sum(-1, keepdim=True)


def apply_top_n_sigma(logits: Tensor, top_n_sigma: RowOption, *, min_tokens_to_keep: int = 1) -> Tensor:
    """Mask logits more than ``top_n_sigma`` standard deviations below the largest.

    logits: [B, V] float. top_n_sigma: >= 0, float or [B]; 0 keeps every token, as in llama.cpp.
    Returns [B, V]; dropped entries are -inf. The deviation is that of the row's entries above -inf, divided by their
    number. Dividing all logits by a temperature changes nothing, so the order of the two does not matter.
    Cost: some ten passes over the logits, and as many copies as they need in float32.
    Source: Tang et al. 2024, arXiv:2411.07641; llama.cpp ``llama_sampler_init_top_n_sigma``.
    >>> apply_top_n_sigma(torch.tensor([[4.0, 3.0, 0.0, 0.0]]), 1.0)
    tensor([[4., 3., -inf, -inf]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    n = per_row("top_n_sigma", top_n_sigma, logits.shape[0], logits.device, NON_NEGATIVE)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    present = wide > -math.inf
    count = present.sum(-1, keepdim=True).clamp_(min=1)
    # llama.cpp's deviation: over the tokens that are left, divided by their number and not by one less.
    mean = wide.masked_fill(~present, 0).sum(-1, keepdim=True) / count
    deviation = ((wide - mean).masked_fill(~present, 0).square_().sum(-1, keepdim=True) / count).sqrt_()
    floor = wide.amax(-1, keepdim=True) - scaled(deviation, n)
    drop = (wide < floor) & (on_device_of(logits.device, n) > 0)
    return logits.masked_fill(_but_the_best(drop, logits, min_tokens_to_keep), -math.inf)


def _but_the_best(drop: Tensor, logits: Tensor, min_tokens_to_keep: int) -> Tensor:
    if min_tokens_to_keep == 1:  # these filters never drop the largest logit
        return drop
    best = logits.topk(min(min_tokens_to_keep, logits.shape[1])).indices
    return drop.scatter_(1, best, False)


def apply_xtc(
    logits: Tensor,
    threshold: RowOption,
    *,
    probability: RowOption = 1.0,
    chance: Tensor | None = None,
    generator: torch.Generator | None = None,
    min_tokens_to_keep: int = 1,
) -> Tensor:
    """Exclude top choices: of the tokens at least ``threshold`` probable, keep only the least probable.

    logits: [B, V] float. threshold: in [0, 1], float or [B]; above 0.5 the filter is off. probability: in [0, 1], float
    or [B], how often it acts. chance: [B] in [0, 1), one number per row that decides; drawn from ``generator``
    (torch's own by default) if not given and ``probability`` is not 1.
    Returns [B, V]; dropped entries are -inf. A row with fewer than two such tokens is unchanged, and so is one that
    would be left with fewer than ``min_tokens_to_keep``. Ties: the token with the largest id is the least probable.
    Cost: one softmax and one masked copy.
    Source: llama.cpp ``llama_sampler_init_xtc``.
    >>> apply_xtc(torch.tensor([[2.0, 1.9, 1.0, 0.0]]), 0.1)
    tensor([[-inf, -inf, 1., 0.]])
    """
    check_logits(logits)
    min_tokens_to_keep = check_count("min_tokens_to_keep", min_tokens_to_keep)
    batch_size = logits.shape[0]
    border = per_row("threshold", threshold, batch_size, logits.device, UNIT)
    how_often = per_row("probability", probability, batch_size, logits.device, UNIT)
    probs = logits.softmax(-1)
    above = probs >= as_border(border, probs.dtype)
    count = above.sum(-1, keepdim=True)
    # The last of the tokens above in (probability, -id) order stays.
    lowest = probs.masked_fill(~above, math.inf).amin(-1, keepdim=True)
    ties = above & (probs == lowest)
    positions = torch.arange(logits.shape[1], device=logits.device)
    last = torch.where(ties, positions, -1).amax(-1, keepdim=True)
    left = (logits > -math.inf).sum(-1, keepdim=True) - (count - 1)
    acts = (count > 1) & (left >= min_tokens_to_keep) & (on_device_of(logits.device, border) <= 0.5)
    acts &= xtc_acts(how_often, batch_size, logits.device, chance, generator)
    return logits.masked_fill(above & (positions != last) & acts, -math.inf)


def xtc_acts(
    probability: float | Tensor,
    batch_size: int,
    device: torch.device,
    chance: Tensor | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Which rows XTC acts on, [B, 1] or [1, 1] bool."""
    if chance is None:
        if not isinstance(probability, Tensor) and probability == 1.0:
            return torch.ones(1, 1, dtype=torch.bool, device=device)
        chance = torch.rand(batch_size, generator=generator, device=device, dtype=torch.float32)
    likely = on_device_of(chance.device, probability)
    return (chance[:, None] <= likely) & (likely > 0)


def apply_dynamic_temperature(
    logits: Tensor, temperature: RowOption, *, spread: RowOption, exponent: RowOption = 1.0
) -> Tensor:
    """Divide each row by a temperature between ``temperature - spread`` and ``temperature + spread``.

    Rows of high entropy get the higher one: T = low + (high - low) * (entropy / log(n)) ** exponent, where n is the
    number of entries above -inf and low is at least 0.
    logits: [B, V] float. temperature: > 0, spread: >= 0, exponent: > 0, each float or [B]; spread 0 is plain
    ``apply_temperature``.
    Returns [B, V]. A row with one entry is unchanged; a row whose T comes out as 0, or so small that the quotient
    overflows, keeps only its largest logits, undivided.
    Cost: one softmax, its entropy and one pass over the logits.
    Source: llama.cpp ``llama_sampler_init_temp_ext``.
    >>> apply_dynamic_temperature(torch.tensor([[1.0, 1.0]]), 1.0, spread=0.5)
    tensor([[0.6667, 0.6667]])
    """
    check_logits(logits)
    shape = (logits.shape[0], logits.device)
    middle = per_row("temperature", temperature, *shape, POSITIVE)
    delta = per_row("spread", spread, *shape, NON_NEGATIVE)
    power = per_row("exponent", exponent, *shape, POSITIVE)
    if not isinstance(delta, Tensor) and delta == 0:
        return divided(logits, middle)
    middle, delta, power = (on_device_of(logits.device, x) for x in (middle, delta, power))
    logprobs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    entropy = -(logprobs * logprobs.exp()).nansum(-1, keepdim=True).to(torch.float64)
    count = (logits > -math.inf).sum(-1, keepdim=True)
    share = (entropy / count.clamp(min=2).to(torch.float64).log()).clamp(0, 1)
    low = (middle - delta).clamp(min=0)
    chosen = torch.where(delta > 0, low + (middle + delta - low) * share**power, middle)
    chosen = chosen.masked_fill(count < 2, 1.0)
    # A temperature that float32 does not tell from 0, or that puts the largest logit out of its range.
    top = logits.amax(-1, keepdim=True)
    frozen = (chosen.float() <= 0) | (top.isfinite() & ~(top.double() / chosen).float().isfinite())
    result = divided(logits, chosen.masked_fill(frozen, 1.0), exact=True)
    return result.masked_fill(frozen & (logits < top), -math.inf)
