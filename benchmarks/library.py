"""Transformers' side of the kernel pairs: transformers' own processors, put together as its loops do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from afterlogits.benchmarks.answers import UnequalAnswers


def warpers(**options: float) -> Callable[[Tensor], Tensor]:
    """Transformers' processors for sampling, in its order: ``warpers(temperature=0.8, top_k=50)(logits)``."""
    from transformers import LogitsProcessorList
    from transformers.generation import logits_process as library

    makers: dict[str, Callable[[Any], Any]] = {
        "temperature": library.TemperatureLogitsWarper,
        "top_h": lambda value: library.TopHLogitsWarper(top_h=value),
        "top_k": lambda value: library.TopKLogitsWarper(top_k=value),
        "top_p": lambda value: library.TopPLogitsWarper(top_p=value),
        "min_p": lambda value: library.MinPLogitsWarper(min_p=value),
        "typical_p": lambda value: library.TypicalLogitsWarper(mass=value),
        "epsilon_cutoff": lambda value: library.EpsilonLogitsWarper(epsilon=value),
        "eta_cutoff": lambda value: library.EtaLogitsWarper(epsilon=value),
    }
    unknown = sorted(set(options) - set(makers))
    if unknown:
        raise ValueError(f"options must be among {sorted(makers)}; got {unknown[0]!r}")
    chain = LogitsProcessorList([make(options[name]) for name, make in makers.items() if name in options])
    return lambda logits: chain(None, logits)


def draw(warp: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """A sampling step as ``GenerationMixin._sample`` takes it: processors, softmax, multinomial. Token ids [B]."""
    return torch.multinomial(warp(logits).softmax(-1), num_samples=1).squeeze(1)


def in_support(warp: Callable[[Tensor], Tensor], logits: Tensor) -> Callable[[Any, Any], None]:
    """A comparison for draws with other noise: every token must be one transformers' filters leave."""
    kept = warp(logits) > -torch.inf

    def check(ours: Tensor, theirs: Tensor) -> None:
        for name, token_ids in (("ours", ours), ("theirs", theirs)):
            inside = kept.gather(1, token_ids[:, None])[:, 0]
            if not bool(inside.all()):
                row = int((~inside).nonzero()[0])
                raise UnequalAnswers(f"{name} drew token {int(token_ids[row])} in row {row}, which transformers drops")

    return check


def beam_candidates(logits: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations of each item as ``GenerationMixin._beam_search`` finds them: values, beams, token ids."""
    batch_size, num_beams = scores.shape
    vocab_size = logits.shape[-1]
    accumulated = logits.log_softmax(-1).view(batch_size, num_beams, vocab_size) + scores[:, :, None]
    values, where = accumulated.view(batch_size, -1).topk(count)
    return values, where // vocab_size, where % vocab_size
