"""Continuations of beams drawn without replacement, from the few that the filters left.

``torch.multinomial`` without replacement takes the largest of ``probs / q``, q exponential of the shape of ``probs``.
Behind top-k, top-p or min-p only a few tokens of a row have a probability at all: the stream is drawn whole, as
transformers draws it, and transformed for those tokens alone.
"""

import torch
from torch import Tensor

from ..kernels.candidates import largest
from ..kernels.counter_noise import counter_exponential
from ..kernels.error_bounds import RACE_MARGIN
from ..kernels.torch_stream import exponentials_at, stream_is_known
from .beam_candidates import Candidates

__all__ = ["no_probabilities", "raced_candidates", "sampled_candidates", "seeded_candidates"]

_LISTED = 128  # finite log-probabilities of a row that are looked at; rows with more are drawn in full
_LEAST = 1e-30  # below this share of the best, float32 softmax loses digits


def sampled_candidates(log_probs: Tensor, scores: Tensor, count: int) -> Candidates:
    """``count`` continuations of each item drawn without replacement by their accumulated probability, as drawn.

    log_probs: [B * K, V], -inf for what the filters dropped. scores: [B, K] of the beams. Returns [B, C] each.
    Consumes torch's global stream as ``softmax`` and ``multinomial`` over [B, K * V] do, with the same draws. Where two
    of them are too close for rounding to decide, or a row has many tokens left, those operations themselves run.
    """
    if log_probs.device.type == "cpu" and log_probs.dtype == torch.float32 and stream_is_known():
        values, token_ids = largest(log_probs, _LISTED)
        if token_ids.shape[1] == log_probs.shape[1] or bool((values[:, -1] == -torch.inf).all()):
            state = torch.get_rng_state()
            drawn = _from_few(values, token_ids, scores, count, log_probs.shape[1])
            if drawn is not None:
                return drawn
            torch.set_rng_state(state)
    return _in_full(log_probs, scores, count)


def seeded_candidates(log_probs: Tensor, scores: Tensor, count: int, keys: Tensor) -> Candidates:
    """The same with the noise of a counter instead of a stream; keys: [B, 1] from ``counter_keys``.

    The noise belongs to (key, beam, token), so that what an item draws does not depend on its batch.
    """
    batch_size, num_beams = scores.shape
    vocab_size = log_probs.shape[-1]
    values, token_ids = largest(log_probs, _LISTED)
    if token_ids.shape[1] < vocab_size and not bool((values[:, -1] == -torch.inf).all()):
        values, token_ids = log_probs, torch.arange(vocab_size, device=log_probs.device).expand_as(log_probs)
    beam = torch.arange(num_beams, device=log_probs.device).repeat_interleave(values.shape[1])
    token = token_ids.reshape(batch_size, -1)
    accumulated = (values.reshape(batch_size, num_beams, -1) + scores[:, :, None]).flatten(1)
    _check_items(accumulated)
    race = accumulated.to(torch.float64) - counter_exponential(keys, beam * vocab_size + token).log()
    where = race.topk(count).indices
    return accumulated.gather(1, where), beam[where], token.gather(1, where)


def raced_candidates(log_probs: Tensor, scores: Tensor, count: int, noise: Tensor) -> Candidates:
    """The same on a device, whose noise [B, K * V] is formed: the logarithms of Exp(1). Nothing is read by the host."""
    vocab_size = log_probs.shape[-1]
    accumulated = (log_probs.view(*scores.shape, vocab_size) + scores[:, :, None]).flatten(1)
    where = (accumulated.to(torch.float64) - noise).topk(count).indices
    return accumulated.gather(1, where), where // vocab_size, where % vocab_size


def by_score(candidates: Candidates) -> Candidates:
    """The candidates of each item [B, C], the largest score first."""
    scores, beam, token = candidates
    ranked, order = scores.sort(dim=-1, descending=True)
    return ranked, beam.gather(-1, order), token.gather(-1, order)


def _in_full(log_probs: Tensor, scores: Tensor, count: int) -> Candidates:
    """Transformers' own operations."""
    batch_size, num_beams = scores.shape
    vocab_size = log_probs.shape[-1]
    accumulated = (log_probs.view(batch_size, num_beams, vocab_size) + scores[:, :, None]).flatten(1)
    if accumulated.device.type != "cpu":  # as torch.multinomial, without its checks, which wait
        probs = torch.softmax(accumulated, dim=-1)
        where = (probs / torch.empty_like(probs).exponential_()).topk(count).indices
        return accumulated.gather(1, where), where // vocab_size, where % vocab_size
    try:
        where = torch.multinomial(torch.softmax(accumulated, dim=-1), num_samples=count)
    except RuntimeError:
        _check_items(accumulated)
        raise
    return accumulated.gather(1, where), where // vocab_size, where % vocab_size


def _check_items(accumulated: Tensor) -> None:
    """Raise a ValueError that names the item of [B, M] whose softmax is NaN, if there is one."""
    bad = ~accumulated.amax(1).isfinite()
    if bool(bad.any()):
        item = int(bad.nonzero()[0])
        raise ValueError(no_probabilities(item))


def no_probabilities(item: int) -> str:
    """What an error says of an item whose softmax is NaN."""
    want = "no NaN, no +inf and a finite value among an item's beams"
    return f"logits must have {want}; item {item} has no probabilities"


def _from_few(values: Tensor, token_ids: Tensor, scores: Tensor, count: int, vocab_size: int) -> Candidates | None:
    """The same draws from the listed tokens [B * K, M] alone; None where that is not certain."""
    batch_size, num_beams = scores.shape
    beam = torch.arange(num_beams, device="cpu").repeat_interleave(values.shape[1])
    token = token_ids.view(batch_size, -1)
    accumulated = (values.view(batch_size, num_beams, -1) + scores[:, :, None]).flatten(1)
    if accumulated.shape[1] <= count:
        return None
    weight = (accumulated - accumulated.amax(1, keepdim=True)).to(torch.float64).exp_()
    place = torch.arange(batch_size, device="cpu")[:, None] * (num_beams * vocab_size) + beam * vocab_size + token
    noise = exponentials_at(place.flatten().numpy(), batch_size, num_beams * vocab_size, None, {})
    best, where = (weight / torch.from_numpy(noise).view_as(weight)).topk(count + 1)
    apart = best[:, 1:] < best[:, :-1] * (1 - RACE_MARGIN)
    where = where[:, :count]
    if not bool(apart.all() & (weight.gather(1, where) > _LEAST).all()):
        return None
    return accumulated.gather(1, where), beam[where], token.gather(1, where)
