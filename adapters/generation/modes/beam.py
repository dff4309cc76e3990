"""Beam search and beam sampling."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from ....decoding.search.beam import beam_search
from ..grammar import GrammarProcessor
from ..processors import translate
from ..request import beams_stay_uncut, per_row
from ..selection import BeamFilters, build_sampler, require_draws
from .prepared_call import Mode, PreparedCall, open_call

__all__ = ["run_beam_search"]

# From 5.24 on transformers puts the candidates that beam sampling has drawn in the order of their scores.
_RANKED = tuple(int(part) for part in transformers.__version__.split(".")[:2]) >= (5, 24)

MODE = Mode("beam search", {"ends": "the hypotheses of all prompts are compared at one length"}, beams=True)


def run_beam_search(model: Any, input_ids: Tensor, **prepared: Any) -> Any:
    """Beam search or beam sampling from the inputs that ``generate`` prepared."""
    config = prepared["generation_config"]
    if config.low_memory:
        raise ValueError("low_memory must be unset for beam search; got True")
    call = open_call(MODE, model, input_ids, **prepared)
    require_draws(config, call.request)
    eos = config._eos_token_tensor
    processors, seeds = _draws(call)
    beams = beam_search(
        call.stepper,
        call.input_ids,
        call.stopping,
        num_beams=call.copies,
        num_eos=0 if eos is None else eos.shape[0],
        max_length=config.max_length,
        length_penalty=config.length_penalty,
        early_stopping=config.early_stopping,
        do_sample=config.do_sample,
        ranked_draws=_RANKED,
        num_return_sequences=config.num_return_sequences,
        fill_token_id=_fill(config),
        processors=processors,
        seeds=seeds,
        recorder=call.recorder,
        late_stop=call.may_stop_late(),
        uncut=beams_stay_uncut(),
    )
    return call.beam_output(beams)


def _fill(config: Any) -> int:
    """What fills the ends. As in transformers, a pad token of 0 reads as "none", and the first EOS stands there.

    The ids are those of the configuration, where its tensors came from: reading these would be a wait on a device.
    """
    eos, pad = config._eos_token_tensor, config._pad_token_tensor
    if eos is None:
        return -1
    if config.eos_token_id is not None:
        eos, pad = _first_id(config.eos_token_id), config.pad_token_id
    return int(pad) if pad is not None and int(pad) else _first_id(eos)


def _first_id(token_ids: Any) -> int:
    """Of one id, a list or a tensor of them."""
    if isinstance(token_ids, Tensor):
        token_ids = token_ids.reshape(-1)
    return int(token_ids if isinstance(token_ids, int | float | np.number) else token_ids[0])


def _draws(call: PreparedCall) -> tuple[list[Any], Tensor | None]:
    """The stages of a beam search with the request's own filters among them, and a seed per prompt [B] or None."""
    request, history, num_beams = call.request, call.stepper.history, call.copies
    rows = history.batch_size
    seeds = None if request.seeds is None else per_row("seeds", request.seeds, rows // num_beams, 1)
    own, select = build_sampler(call.processors, replace(request, seeds=None), rows, num_beams)
    filters = [BeamFilters(select)] if request.rows or len(own) < len(call.processors) else []
    stages = translate(own, history)
    if own and type(own[-1]) is GrammarProcessor:  # itself, which the search asks about candidates
        stages[-1] = own[-1].step(rows, own[-1].engine.vocab_size)
    keys = None if seeds is None else torch.tensor(seeds, device=history.ids.device)
    return [*stages, *filters], keys
