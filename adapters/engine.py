"""The methods that replace the library's own decoding loops on a model.

``GenerationMixin.generate`` prepares a call (configuration, processors, criteria, cache, encoder) and looks its loop up
on the model's class; ``Engine`` puts this package's loops there and leaves the preparation to the library. What it does
not cover goes to the library's loop, with one warning that says why.
"""

import warnings
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationMixin
from transformers.generation import stopping_criteria as criteria
from transformers.generation import utils as library

from ..decoding.beam import beam_search
from ..decoding.history import History
from ..decoding.loop import decode
from ..decoding.stopping import Stopping
from .outputs import OutputRecorder
from .processors import keeps_rows_apart, translate
from .removed_modes import REMOVED_MODES
from .request import Request, current_request, requested, split_request
from .selection import build_selection, per_row
from .speculation import run_assisted, why_not_assisted
from .step_model import AutoStepModel

__all__ = ["Engine", "read_criteria"]

_WARNED: set[tuple[str, str]] = set()


class Engine(GenerationMixin):  # type: ignore[misc]
    """Mixed in before a model's own class; see ``generation.install``."""

    def generate(self, *arguments: Any, seeds: Any = None, compact: bool = False, **options: Any) -> Any:
        """The model's own ``generate``, which also takes the options of ``generation.generate``."""
        request, options = split_request(seeds, compact, options)
        with requested(request):
            return super().generate(*arguments, **options)

    def _sample(
        self,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        synced_gpus: bool = False,
        streamer: Any = None,
        **model_kwargs: Any,
    ) -> Any:
        request = current_request()
        reason = _not_covered(self, "_sample", synced_gpus, generation_config)
        if reason is not None:
            _fall_through(self, reason, request)
            return super()._sample(
                input_ids,
                logits_processor=logits_processor,
                stopping_criteria=stopping_criteria,
                generation_config=generation_config,
                synced_gpus=synced_gpus,
                streamer=streamer,
                **model_kwargs,
            )
        return run_sample(
            self,
            input_ids,
            logits_processor,
            stopping_criteria,
            generation_config,
            streamer=streamer,
            request=request,
            **model_kwargs,
        )

    def _beam_search(
        self,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        synced_gpus: bool = False,
        **model_kwargs: Any,
    ) -> Any:
        request = current_request()
        reason = _not_covered(self, "_beam_search", synced_gpus, generation_config)
        if reason is not None:
            _fall_through(self, reason, request)
            return super()._beam_search(
                input_ids,
                logits_processor=logits_processor,
                stopping_criteria=stopping_criteria,
                generation_config=generation_config,
                synced_gpus=synced_gpus,
                **model_kwargs,
            )
        return run_beam_search(
            self, input_ids, logits_processor, stopping_criteria, generation_config, request=request, **model_kwargs
        )

    def _assisted_decoding(
        self,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        synced_gpus: bool = False,
        streamer: Any = None,
        inputs_tensor: Any = None,
        assistant_model: Any = None,
        assistant_tokenizer: Any = None,
        tokenizer: Any = None,
        **model_kwargs: Any,
    ) -> Any:
        request = current_request()
        reason = _not_covered(self, "_assisted_decoding", synced_gpus, generation_config) or why_not_assisted(
            self,
            input_ids,
            logits_processor,
            generation_config,
            model_kwargs,
            assistant_model=assistant_model,
            assistant_tokenizer=assistant_tokenizer,
        )
        if reason is not None:
            _fall_through(self, reason, request)
            return super()._assisted_decoding(
                input_ids,
                logits_processor=logits_processor,
                stopping_criteria=stopping_criteria,
                generation_config=generation_config,
                synced_gpus=synced_gpus,
                streamer=streamer,
                inputs_tensor=inputs_tensor,
                assistant_model=assistant_model,
                assistant_tokenizer=assistant_tokenizer,
                tokenizer=tokenizer,
                **model_kwargs,
            )
        return run_assisted(
            self,
            input_ids,
            logits_processor,
            stopping_criteria,
            generation_config,
            streamer=streamer,
            inputs_tensor=inputs_tensor,
            assistant_model=assistant_model,
            request=request,
            **model_kwargs,
        )

    def _get_deprecated_gen_repo(self, *args: Any, **kwargs: Any) -> None:
        """The modes the library keeps on its Hub run here: no repository is needed."""


# The library finds the loop of such a mode by the name of its repository; see ``generate``.
for _mode, _run in REMOVED_MODES.items():
    setattr(Engine, library.GENERATION_MODES_MAPPING[_mode], _run)


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
    request = request or Request()
    config = generation_config
    batch_size = input_ids.shape[0]
    stepper = AutoStepModel(
        model,
        input_ids,
        model_kwargs,
        config,
        copies=config.num_return_sequences or 1,
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
    config = generation_config
    if request is not None and request.asks_for_more:
        raise ValueError(f"num_beams must be 1 for per-row options and seeds; got {config.num_beams}")
    if config.low_memory:
        raise ValueError("low_memory must be unset for beam search; got True")
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
            processors=translate(logits_processor, stepper.history),
            recorder=recorder,
        )
    if recorder is None:
        return beams.token_ids
    return recorder.output(
        beams.token_ids,
        sequences_scores=beams.scores if config.output_scores else None,
        beam_indices=beams.beam_indices,
    )


def add_row_limits(stopping: Stopping, request: Request, config: Any, input_ids: Tensor) -> bool:
    """Add the request's per-row ends to ``stopping``; whether there are any, so that finished rows need a pad."""
    batch_size, prompt_length = input_ids.shape
    copies = config.num_return_sequences or 1
    if request.max_new_tokens is not None:
        limits = per_row("max_new_tokens", request.max_new_tokens, batch_size, copies)
        stopping.row_max_length = torch.tensor(limits, device=input_ids.device) + prompt_length
    if request.eos_token_id is not None:
        rows = [[one] if isinstance(one, int) else list(one) for one in request.eos_token_id]
        rows = per_row("eos_token_id", rows, batch_size, copies)
        width = max(len(row) for row in rows)
        table = [row + [-1] * (width - len(row)) for row in rows]
        stopping.row_eos_token_id = torch.tensor(table, device=input_ids.device)
        stopping.eos_token_id = None
    added = request.max_new_tokens is not None or request.eos_token_id is not None
    if added and config._pad_token_tensor is None:
        raise ValueError("pad_token_id must be given for rows that end at different lengths; got None")
    return added


def read_criteria(stopping_criteria: Any) -> tuple[Stopping, bool]:
    """The library's criteria as a Stopping, and whether finished rows are padded (some criterion knows an EOS)."""
    stopping = Stopping()
    others = []
    has_eos = False
    for criterion in stopping_criteria:
        has_eos = has_eos or hasattr(criterion, "eos_token_id")
        if type(criterion) is criteria.MaxLengthCriteria:
            shorter = stopping.max_length is None or criterion.max_length < stopping.max_length
            stopping.max_length = criterion.max_length if shorter else stopping.max_length
        elif type(criterion) is criteria.EosTokenCriteria and stopping.eos_token_id is None:
            stopping.eos_token_id = criterion.eos_token_id
        elif type(criterion) is criteria.MaxTimeCriteria and stopping.deadline is None:
            stopping.deadline = criterion.initial_timestamp + criterion.max_time
        else:
            others.append(criterion)
    stopping.criteria = tuple(others)
    return stopping, has_eos


def _decoding(model: Any, stepper: AutoStepModel, *, optimize: bool = True) -> Any:
    """What the library does around its own decoding loop: the compiled forward and the experts' implementation."""
    if not optimize:
        return nullcontext()
    stepper.compile_forward()
    return model._optimize_model_for_decode() if hasattr(model, "_optimize_model_for_decode") else nullcontext()


def _not_covered(model: Any, method: str, synced_gpus: bool, config: Any) -> str | None:
    """Why the library's own loop must run, or None."""
    own = next((kind for kind in type(model).__mro__ if method in vars(kind) and kind is not Engine), GenerationMixin)
    if own is not GenerationMixin:
        return f"it has its own {method}"
    if synced_gpus:
        return "its forward calls are synchronised across GPUs"
    if getattr(config, "prefill_chunk_size", None) is not None and not hasattr(model, "_prefill"):
        return "this version of transformers prefills in chunks inside its own loop"
    return None


def _fall_through(model: Any, reason: str, request: Request | None) -> None:
    name = type(model).__name__
    if request is not None and request.asks_for_more:
        raise ValueError(f"{name} must be decoded by this engine for per-row options; got a model where {reason}")
    if (name, reason) not in _WARNED:
        _WARNED.add((name, reason))
        warnings.warn(f"{name} is decoded by transformers' own loop: {reason}.", RuntimeWarning, stacklevel=4)
