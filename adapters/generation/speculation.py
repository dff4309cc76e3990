"""Assisted decoding of a batch: a draft model, prompt lookup or the model's first layers guess, the model checks."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.generation import logits_process as library
from transformers.utils import is_sklearn_available

from ...decoding.search.stopping import Stopping
from ...decoding.speculation.draft_model import DraftModel
from ...decoding.speculation.prompt_lookup import PromptLookup
from ...decoding.speculation.speculative import Drafter, speculate
from .draft_preparation import PreparedDraft, first_layers, prepare_draft
from .outputs import OutputRecorder
from .request import Request
from .row_hooks import sees_rows
from .row_rules import with_row_rules
from .selection import build_sampler, require_draws
from .stopping import add_row_limits, read_criteria
from .verifying_model import VerifyingAutoStepModel, why_not_verifiable

__all__ = ["run_assisted", "why_not_assisted"]

# Processors that look at the scores alone: rows of different lengths can share a call.
_BLIND = frozenset(
    getattr(library, name)
    for name in (
        "EpsilonLogitsWarper",
        "EtaLogitsWarper",
        "InfNanRemoveLogitsProcessor",
        "LogitNormalization",
        "MinPLogitsWarper",
        "SuppressTokensLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopHLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "TypicalLogitsWarper",
    )
    if hasattr(library, name)
)
# Processors that must be called once per token of the result, in order.
_COUNTING = ("UnbatchedClassifierFreeGuidanceLogitsProcessor", "SynthIDTextWatermarkLogitsProcessor")


# What ``generate`` prepares for a loop beside the model's own inputs.
_OF_THE_CALL = frozenset(
    [
        *("logits_processor", "stopping_criteria", "generation_config", "synced_gpus", "streamer", "inputs_tensor"),
        *("assistant_model", "assistant_tokenizer", "tokenizer"),
    ]
)


def why_not_assisted(model: Any, input_ids: Tensor, prepared: dict[str, Any]) -> str | None:
    """Why this engine leaves an assisted call to transformers, or None.

    prepared: what ``generate`` calls a loop with.
    """
    config, logits_processor = prepared["generation_config"], prepared["logits_processor"]
    assistant_model, assistant_tokenizer = prepared.get("assistant_model"), prepared.get("assistant_tokenizer")
    model_kwargs = {name: value for name, value in prepared.items() if name not in _OF_THE_CALL}
    if not model_kwargs.get("use_cache", True):
        return None  # an error of the call, which ``run_assisted`` reports
    if getattr(config, "use_mtp", None):
        return "it drafts with its own prediction heads"
    if getattr(config, "assistant_ensemble_weight", None) is not None:
        return "its verification is relaxed by assistant_ensemble_weight"
    if OutputRecorder.needs_outputs(config):
        return "attentions or hidden states of an assisted call are asked for"
    counting = [type(one).__name__ for one in logits_processor if type(one).__name__ in _COUNTING]
    if counting:
        return f"{counting[0]} must see every step once"
    if assistant_model is not None:
        refused = _why_not_with(assistant_model, assistant_tokenizer, model)
        if refused is not None:
            return refused
    elif config.assistant_early_exit is not None and model.config.is_encoder_decoder:
        return "the first layers of an encoder-decoder model are asked to draft"
    return why_not_verifiable(model, model_kwargs, input_ids)


def _why_not_with(assistant: Any, tokenizer: Any, model: Any) -> str | None:
    """Why ``assistant`` (``tokenizer``: one of its own) does not draft for ``model`` here, or None."""
    if tokenizer is not None:
        return "its assistant has a tokenizer of its own"
    own, drafts = (each.config.get_text_config(decoder=True).vocab_size for each in (model, assistant))
    if own != drafts:
        return f"its assistant has a vocabulary of {drafts} tokens, not {own}"
    if model.config.is_encoder_decoder != assistant.config.is_encoder_decoder:
        return "its assistant is of another kind"
    if not assistant.can_generate() or getattr(assistant, "_is_stateful", False):
        return "its assistant cannot go back a step"
    if hasattr(assistant, "generate_with_fallback"):
        return "its assistant decodes window after window"
    return None


def run_assisted(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    streamer: Any = None,
    inputs_tensor: Tensor | None = None,
    assistant_model: Any = None,
    assistant_tokenizer: Any = None,
    tokenizer: Any = None,
    request: Request | None = None,
    **model_kwargs: Any,
) -> Any:
    """Assisted decoding from the inputs that ``generate`` prepared, for any number of rows.

    With a seed per row the tokens are those of plain decoding with the same seeds.
    """
    call = _open(
        model,
        input_ids,
        logits_processor,
        stopping_criteria,
        generation_config,
        request or Request(),
        streamer,
        model_kwargs,
    )
    draft = _draft_of(call, assistant_model, inputs_tensor)
    lockstep = _in_lockstep(call, draft)
    options = (model if assistant_model is None else assistant_model).generation_config
    drafter: Drafter
    if draft is None:
        drafter = _prompt_lookup(call)
    else:
        drafter = _draft_model(
            draft,
            options,
            do_sample=bool(call.config.do_sample) and call.draw is None,
            lockstep=lockstep,
            learn_confidence=assistant_model is not None and is_sklearn_available(),
        )
    pad = call.config._pad_token_tensor
    sequences = speculate(
        call.stepper,
        call.input_ids,
        drafter,
        call.stopping,
        do_sample=bool(call.config.do_sample),
        draw=call.draw,
        lockstep=lockstep,
        rules=call.rules,
        pad_token_id=None if pad is None else pad.to(call.input_ids.device),
        recorder=call.recorder,
        on_tokens=None if streamer is None else streamer.put,
    )
    if draft is not None and options.num_assistant_tokens_schedule == "heuristic":
        options.num_assistant_tokens = drafter.num_tokens  # what was learnt stays with the draft, as in transformers
    if streamer is not None:
        streamer.end()
    return sequences if call.recorder is None else call.recorder.output(sequences)


@dataclass(frozen=True)
class _Call:
    """An assisted call, taken apart. rules: what changes the logits before ``draw``; all that does where it is None."""

    model: Any
    config: Any
    input_ids: Tensor
    model_kwargs: dict[str, Any]
    stepper: VerifyingAutoStepModel
    stopping: Stopping
    rules: Any
    draw: Any
    recorder: OutputRecorder | None
    streamer: Any
    eos_token_id: Tensor | None
    prompt_mask: Tensor | None

    @property
    def is_single(self) -> bool:
        return self.input_ids.shape[0] == 1


def _open(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    config: Any,
    request: Request,
    streamer: Any,
    model_kwargs: dict[str, Any],
) -> _Call:
    """Take a call apart; raises ValueError for what no assisted call has a use for."""
    input_ids = input_ids.long()
    require_draws(config, request)
    if not model_kwargs.get("use_cache", True):
        raise ValueError("use_cache must be True for assisted decoding; got False")
    prompt_mask = model_kwargs.get("attention_mask")  # the model's inputs are changed by its steps
    copies = config.num_return_sequences or 1
    rules, draw = with_row_rules(logits_processor, request, config, input_ids, model_kwargs, copies), None
    stopping, has_eos = read_criteria(stopping_criteria, input_ids.device)
    add_row_limits(stopping, request, config, input_ids)
    stepper = VerifyingAutoStepModel(model, input_ids, model_kwargs, config, max_length=config.max_length)
    recorder = OutputRecorder(stepper, config) if config.return_dict_in_generate else None
    if request.rows or request.seeds is not None:
        if recorder is not None and recorder.scores is not None:
            raise ValueError("output_scores must be off for an assisted call with per-row filters or seeds; got True")
        rules, draw = build_sampler(rules, request, input_ids.shape[0], copies)
    return _Call(
        model=model,
        config=config,
        input_ids=input_ids,
        model_kwargs=model_kwargs,
        stepper=stepper,
        stopping=stopping,
        rules=rules,
        draw=draw,
        recorder=recorder,
        streamer=streamer,
        eos_token_id=config._eos_token_tensor if has_eos else None,
        prompt_mask=prompt_mask,
    )


def _draft_of(call: _Call, assistant_model: Any, inputs_tensor: Tensor | None) -> PreparedDraft | None:
    """The model that drafts: the one that was given, or the first layers of the model itself, or none."""
    if assistant_model is None and call.config.assistant_early_exit is not None:
        assistant_model = first_layers(call.model, call.config.assistant_early_exit)
    if assistant_model is None:
        return None
    return prepare_draft(
        assistant_model,
        call.input_ids,
        call.model_kwargs,
        inputs_tensor,
        call.config,
        call.rules,
        alone=call.is_single and call.draw is None,
        eos_token_id=call.eos_token_id,
    )


def _in_lockstep(call: _Call, draft: PreparedDraft | None) -> bool:
    """Whether all rows advance by the same number of tokens: somebody sees them side by side, or the model must."""
    is_watched = call.recorder is not None or call.streamer is not None or sees_rows(call.model)
    has_common_rules = bool(call.stopping.criteria) or any(type(rule) not in _BLIND for rule in call.rules)
    models = [call.stepper, *([] if draft is None else [draft.model])]
    return call.is_single or is_watched or has_common_rules or not all(each.rows_may_differ() for each in models)


def _draft_model(
    draft: PreparedDraft, options: Any, *, do_sample: bool, lockstep: bool, learn_confidence: bool
) -> DraftModel:
    """As in transformers, the draft's own configuration says how it drafts, and that of the call does not."""
    return DraftModel(
        draft.model,
        num_tokens=int(_given(options.num_assistant_tokens, 20)),
        do_sample=do_sample,
        rules=draft.rules,
        lockstep=lockstep,
        confidence=_given(options.assistant_confidence_threshold, 0.4),
        learn_confidence=learn_confidence,
        eos_token_id=draft.eos_token_id,
        schedule=_given(options.num_assistant_tokens_schedule, "constant"),
    )


def _prompt_lookup(call: _Call) -> PromptLookup:
    config, prompt_mask = call.config, call.prompt_mask
    has_pads = prompt_mask is not None and not call.model.config.is_encoder_decoder
    return PromptLookup(
        num_tokens=config.prompt_lookup_num_tokens,
        max_ngram_size=_given(config.max_matching_ngram_size, 3),
        eos_token_id=call.eos_token_id,
        starts=prompt_mask.long().argmax(dim=1) if has_pads and prompt_mask is not None else None,
    )


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value
