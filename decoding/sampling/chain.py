"""The filters that are on, in one documented order, and the protocol for steps that know the tokens so far.

Order of everything (``SamplingParams.history_order`` and ``order`` change it):
1. ``HistorySteps``: logit bias, sequence bias, repetition penalty, frequency then presence penalty, no-repeat n-gram,
   DRY, bad words, min length, min new tokens, allowed tokens, forced BOS, forced EOS, exponential decay, suppressed
   tokens, tokens suppressed at the beginning; then steps of the caller's own.
2. The filters: top-n-sigma, temperature, top-h, top-k, top-p, min-p, typical-p, epsilon, eta, XTC.
3. ``DrawSteps``: mirostat, adaptive-p. 4. Softmax and the draw.
Where transformers 5.23 has an operation, it stands where transformers puts it.
"""

from typing import Protocol

import torch
from torch import Tensor

from ..filters import entropy, top_k_top_p_min_p
from ..options.batch_options import CompiledParams
from ..options.validation import divided


class LogitsStep(Protocol):
    """A change of the logits that depends on the tokens so far, kept up to date one token at a time.

    A loop calls ``apply`` on the logits of a step, picks tokens, then calls ``advance`` with them; ``select_rows``
    follows a change of the batch (finished rows leave, beams are re-parented). The cost of a step does not grow with
    the history.
    """

    def apply(self, logits: Tensor) -> Tensor:
        """Return the changed logits [N, V]; may write into the argument, which the loop owns."""
        ...

    def advance(self, token_ids: Tensor) -> None:
        """Append one token to every row: token_ids [N]."""
        ...

    def select_rows(self, rows: Tensor) -> None:
        """Make row i continue what was row ``rows[i]``: rows [M] int64."""
        ...


def apply_chain(
    logits: Tensor,
    params: CompiledParams,
    *,
    chance: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Apply every filter of ``params`` that is on, in its order: [N, V] -> [N, V], dropped entries -inf.

    params: from ``SamplingParams.compiled``.
    Transformers' own arithmetic throughout; the argument is not changed. Greedy rows are filtered like the others.
    chance: what decides whether XTC acts on a row, [N]; drawn from ``generator`` if None.
    Cost: the sum of the filters that are on; ``sample`` decides on a few candidates instead.
    >>> from afterlogits.decoding import SamplingParams
    >>> params = SamplingParams(temperature=0.5, top_k=2).compiled(1, torch.device("cpu"))
    >>> apply_chain(torch.tensor([[2.0, 1.0, 0.0]]), params)
    tensor([[4., 2., -inf]])
    """
    if not isinstance(params, CompiledParams):
        raise TypeError(f"params must be what SamplingParams.compiled returns; got {type(params).__name__}")
    on, keep = params.on, params.min_tokens_to_keep
    for name in params.active:
        if name == "temperature" and "dynamic_temperature" in on:
            logits = entropy.apply_dynamic_temperature(
                logits,
                on.get("temperature", 1.0),
                spread=on["dynamic_temperature"],
                exponent=on.get("dynamic_exponent", 1.0),
            )
        elif name == "xtc":
            logits = entropy.apply_xtc(
                logits,
                on["xtc_threshold"],
                probability=on["xtc_probability"],
                chance=chance,
                generator=generator,
                min_tokens_to_keep=keep,
            )
        elif name == "temperature":
            logits = divided(logits, on[name], exact=params.exact_division)
        elif name == "top_k":
            kept = top_k_top_p_min_p.drop_below_kth(logits, on[name], keep, params.largest_top_k)
            if params.joint:  # judged on the same distribution
                kept = torch.minimum(kept, top_k_top_p_min_p.apply_top_p(logits, on["top_p"], min_tokens_to_keep=keep))
            logits = kept
        elif name == "top_p" and params.joint:
            continue
        else:
            # transformers gives top-h no such limit, in beam search neither
            logits = _FILTERS[name](logits, on[name], min_tokens_to_keep=1 if name == "top_h" else keep)
    return logits


_FILTERS = {
    "top_n_sigma": entropy.apply_top_n_sigma,
    "top_h": entropy.apply_top_h,
    "top_p": top_k_top_p_min_p.apply_top_p,
    "min_p": top_k_top_p_min_p.apply_min_p,
    "typical_p": entropy.apply_typical_p,
    "epsilon_cutoff": entropy.apply_epsilon,
    "eta_cutoff": entropy.apply_eta,
}
