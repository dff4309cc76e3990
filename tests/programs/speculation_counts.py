"""How often a round of speculation on a device waits: what drafts, how it is drawn, one row and several.

A round is one reading of guesses by the large model. A number is the difference between runs of 22 and of 8 tokens
divided by the difference of their rounds, beside the forward passes of both models, and beside the number that
transformers 4 reads when it prepares the inputs of one.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from afterlogits.adapters import generate
from tests.builders.seeded_models import repeating_prompts, seeded_model
from tests.pretend_cuda.counts import Counts
from tests.pretend_cuda.device import on_device, pretend_cuda

__all__ = ["ROUNDS", "round_table", "token_table"]

DRAWN = {"do_sample": True, "top_k": 0}
SEEDS = {"seeds": [5, 6, 7]}
LOOKUP = {"prompt_lookup_num_tokens": 4}
DRAFT = {"assistant_model": "assistant"}  # stands for a model of its own
EXIT = {"assistant_early_exit": 2}
ROUNDS: dict[str, dict[str, Any]] = {
    "prompt lookup": LOOKUP,
    "prompt lookup, repetition penalty": {**LOOKUP, "repetition_penalty": 1.2},
    "prompt lookup, stream": {**LOOKUP, **DRAWN},
    "prompt lookup, seeds, top-p 0.9": {**LOOKUP, **DRAWN, **SEEDS, "top_p": 0.9},
    "draft model": DRAFT,
    "draft model, scores returned": {**DRAFT, "return_dict_in_generate": True, "output_scores": True},
    "draft model, stream": {**DRAFT, **DRAWN},
    "draft model, seeds": {**DRAFT, **DRAWN, **SEEDS},
    "first layers": EXIT,
    "first layers, stream": {**EXIT, **DRAWN},
}


@dataclass
class _Watch:
    """What the forward passes of every model counted, and how many of them the large one made."""

    inside: tuple[int, ...] = (0, 0, 0)
    rounds: int = 0


@contextmanager
def _watched(model: Any, counts: Counts) -> Iterator[_Watch]:
    """Counts the passes of all models of the class of ``model``, its first layers and its draft among them."""
    kind, watch = type(model), _Watch()
    forward: Callable[..., Any] = kind.forward
    prepare: Callable[..., Any] = kind.prepare_inputs_for_generation

    @functools.wraps(forward)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = counts.totals()
        found = forward(self, *args, **kwargs)
        spent = zip(watch.inside, counts.totals(), before, strict=True)
        watch.inside = tuple(sum_ + after - first for sum_, after, first in spent)
        watch.rounds += self.config is model.config
        return found

    @functools.wraps(prepare)
    def prepared(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = counts.totals()[0]
        found = prepare(self, *args, **kwargs)
        watch.inside = (watch.inside[0] + counts.totals()[0] - before, *watch.inside[1:])
        return found

    with mock.patch.multiple(kind, forward=counted, prepare_inputs_for_generation=prepared):
        yield watch


def round_table(rows: int, cases: Sequence[str] = tuple(ROUNDS)) -> dict[str, tuple[float, ...]]:
    """Waits, late waits and operations of a round of each case, beside the models."""
    table = {}
    with _there(rows) as (there, draft, inputs, counts):
        for name in cases:
            options = _case(name, draft)
            if "seeds" in options:
                options["seeds"] = options["seeds"][:rows]
            table[name] = _of_round(there, {**inputs, **options}, counts)
    return table


def token_table(cases: Sequence[str] = tuple(ROUNDS)) -> dict[str, tuple[float, float]]:
    """Operations of a new token of one row here and in transformers, which draws without seeds, beside the models."""
    table = {}
    with _there(1) as (there, draft, inputs, counts):
        for name in cases:
            options = {**_case(name, draft), **inputs}
            seeds = options.pop("seeds", None)
            own = {} if seeds is None else {"seeds": seeds[:1]}
            ours = _spent(there, functools.partial(generate, there, **own), options, counts)
            theirs = _spent(there, there.generate, options, counts)
            table[name] = ((ours[1][0][2] - ours[0][0][2]) / 14, (theirs[1][0][2] - theirs[0][0][2]) / 14)
    return table


@contextmanager
def _there(rows: int) -> Iterator[tuple[Any, Any, dict[str, Any], Counts]]:
    """On the pretend device: the model, its assistant, ``rows`` prompts, and what is counted."""
    model, assistant = seeded_model("llama"), seeded_model("llama", scale=0.29)
    ids = repeating_prompts()[:rows]
    with pretend_cuda() as counts, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = on_device({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        yield on_device(model), on_device(assistant), inputs, counts


def _case(name: str, draft: Any) -> dict[str, Any]:
    """The options of a case that runs to its length."""
    options = {**ROUNDS[name], "eos_token_id": None}
    return options | {"assistant_model": draft} if "assistant_model" in options else options


def _of_round(model: Any, call: dict[str, Any], counts: Counts) -> tuple[float, ...]:
    (first, early), (last, late) = _spent(model, functools.partial(generate, model), call, counts)
    return tuple((after - before) / (late - early) for before, after in zip(first, last, strict=True))


def _spent(model: Any, run: Callable[..., Any], call: dict[str, Any], counts: Counts) -> list[tuple[list[int], int]]:
    """What runs of 8 and of 22 tokens cost beside the models, and their rounds."""
    found = []
    for tokens in (8, 22):
        torch.manual_seed(1)
        with _watched(model, counts) as watch:
            counts.reset()
            run(**call, max_new_tokens=tokens)
            spent = [total - inside for total, inside in zip(counts.totals(), watch.inside, strict=True)]
        found.append((spent, watch.rounds))
    return found
