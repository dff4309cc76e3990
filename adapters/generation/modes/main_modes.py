"""The modes that transformers runs itself, on this engine's loops: greedy decoding, sampling, beams, beam sampling."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ....decoding.search.beam import beam_search
from ....decoding.search.decode_loop import decode
from ....decoding.search.history import History
from ..outputs import OutputRecorder
from ..processors import keeps_rows_apart, translate
from ..request import ENDS, Request, per_row
from ..row_rules import with_row_rules
from ..selection import BeamFilters, build_sampler, build_selection, require_draws
from ..step_model import AutoStepModel
from ..stopping import add_row_limits, read_criteria

__all__ = ["run_beam_search", "run_sample"]


def run_sample(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    streamer: Any = None,
    request: Request | None = None,
    **model_kwargs: Any,
) -> Any:
    """Greedy decoding or sampling from the inputs that ``generate`` prepared; returns what ``generate`` does."""
    config, request, input_ids = generation_config, request or Request(), input_ids.long()
    batch_size, copies = input_ids.shape[0], config.num_return_sequences or 1
    logits_processor = with_row_rules(logits_processor, request, config, input_ids, model_kwargs, copies)
    stepper = AutoStepModel(
        model,
        input_ids,
        model_kwargs,
        config,
        copies=copies,
        keep_outputs=OutputRecorder.needs_outputs(config),
    )
    stopping, has_eos = read_criteria(stopping_criteria)
    has_row_limits = add_row_limits(stopping, request, config, input_ids)
    pad = config._pad_token_tensor.to(input_ids.device) if has_eos or has_row_limits else None
    recorder = OutputRecorder(stepper, config) if config.return_dict_in_generate else None
    needs_every_row = OutputRecorder.needs_every_row(config)
    stages, select = build_selection(
        config, logits_processor, stepper.history, request, batch_size=batch_size, scores_wanted=needs_every_row
    )
    compact = (
        request.compact
        and pad is not None
        and not needs_every_row
        and not stopping.needs_ids
        and keeps_rows_apart(logits_processor)
        and stepper.can_select_rows()
    )
    with _decoding(model, stepper):
        sequences = decode(
            stepper,
            History(input_ids),
            select,
            stopping,
            processors=stages,
            pad_token_id=pad,
            recorder=recorder,
            on_tokens=None if streamer is None else (lambda token_ids: streamer.put(token_ids.cpu())),
            compact=compact,
        )
    if streamer is not None:
        streamer.end()
    sequences = sequences.clone()
    return sequences if recorder is None else recorder.output(sequences)


def run_beam_search(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    request: Request | None = None,
    **model_kwargs: Any,
) -> Any:
    """Beam search or beam sampling from the inputs that ``generate`` prepared."""
    config, request, input_ids = generation_config, request or Request(), input_ids.long()
    request.refuse(ENDS, "beam search", "the hypotheses of all prompts are compared at one length")
    require_draws(config, request)
    if config.low_memory:
        raise ValueError("low_memory must be unset for beam search; got True")
    logits_processor = with_row_rules(logits_processor, request, config, input_ids, model_kwargs, config.num_beams)
    stepper = AutoStepModel(
        model,
        input_ids,
        model_kwargs,
        config,
        copies=config.num_beams,
        keep_outputs=OutputRecorder.needs_outputs(config),
    )
    stopping, _ = read_criteria(stopping_criteria)
    recorder = OutputRecorder(stepper, config) if config.return_dict_in_generate else None
    eos, pad = config._eos_token_tensor, config._pad_token_tensor
    processors, seeds = _beam_draws(logits_processor, stepper, request, config.num_beams)
    # As in the library: a pad token of 0 reads as "none", and the first EOS fills the ends instead.
    fill = -1 if eos is None else int(pad) if pad is not None and int(pad) else int(eos[0])
    with _decoding(model, stepper, optimize=False):
        beams = beam_search(
            stepper,
            input_ids,
            stopping,
            num_beams=config.num_beams,
            num_eos=0 if eos is None else eos.shape[0],
            max_length=config.max_length,
            length_penalty=config.length_penalty,
            early_stopping=config.early_stopping,
            do_sample=config.do_sample,
            num_return_sequences=config.num_return_sequences,
            fill_token_id=fill,
            processors=processors,
            seeds=seeds,
            recorder=recorder,
        )
    if recorder is None:
        return beams.token_ids
    return recorder.output(
        beams.token_ids,
        sequences_scores=beams.scores if config.output_scores else None,
        beam_indices=beams.beam_indices,
    )


def _beam_draws(
    logits_processor: Any, stepper: AutoStepModel, request: Request, num_beams: int
) -> tuple[list[Any], Tensor | None]:
    """The stages of a beam search with the request's own filters among them, and a seed per prompt [B] or None."""
    rows = stepper.history.batch_size
    seeds = None if request.seeds is None else per_row("seeds", request.seeds, rows // num_beams, 1)
    stages, select = build_sampler(list(logits_processor), replace(request, seeds=None), rows, num_beams)
    filters = [BeamFilters(select)] if request.rows or len(stages) < len(logits_processor) else []
    keys = None if seeds is None else torch.tensor(seeds, device=stepper.history.ids.device)
    return [*translate(stages, stepper.history), *filters], keys


def _decoding(model: Any, stepper: AutoStepModel, *, optimize: bool = True) -> Any:
    """What the library does around its own decoding loop: the compiled forward and the experts' implementation."""
    if not optimize:
        return nullcontext()
    stepper.compile_forward()
    return model._optimize_model_for_decode() if hasattr(model, "_optimize_model_for_decode") else nullcontext()
