"""What a draft model is given: the prompt, and the rules and end tokens that transformers' own draft would have.

transformers lets its draft run ``generate`` with the configuration and the processors of the call, so that options of
the draft's own configuration fill gaps, and the filters of sampling come behind those of the call a second time. For
one row the same ``generate`` prepares it here, and its loop takes over nothing but that.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import logits_process as library

from .verifying_model import VerifyingAutoStepModel

__all__ = ["PreparedDraft", "first_layers", "prepare_draft"]


@dataclass(frozen=True)
class PreparedDraft:
    """A draft model with its prompt, what its logits pass through, and which tokens end its guesses."""

    model: VerifyingAutoStepModel
    rules: Sequence[Any]
    eos_token_id: Tensor | None


def prepare_draft(
    assistant: Any,
    input_ids: Tensor,
    model_kwargs: dict[str, Any],
    inputs_tensor: Tensor | None,
    config: Any,
    rules: Sequence[Any],
    *,
    alone: bool,
    eos_token_id: Tensor | None,
) -> PreparedDraft:
    """``assistant`` with the same prompt. alone: one row, drafted by the rules and end tokens of transformers' draft.

    Several rows, which transformers does not draft for, follow the call's own ``rules`` and ``eos_token_id``.
    """
    prompt = _prompt(assistant, input_ids, inputs_tensor, model_kwargs.get("attention_mask"))
    # Its least length is told to a draft otherwise.
    given = [rule for rule in rules if not isinstance(rule, library.MinLengthLogitsProcessor)] if alone else []
    ids, prepared, own, own_rules = assistant.generate(
        **prompt,
        generation_config=_config(config),
        logits_processor=LogitsProcessorList(given),
        custom_generate=_capture,
    )
    model = VerifyingAutoStepModel(assistant, ids, prepared, own, max_length=config.max_length)
    if not alone:
        return PreparedDraft(model, rules, eos_token_id)
    ends: Tensor | None = own._eos_token_tensor
    if config.min_length and ends is not None:
        least = library.MinLengthLogitsProcessor(config.min_length, ends, device=str(ends.device))
        return PreparedDraft(model, [least, *own_rules], ends)
    return PreparedDraft(model, list(own_rules), ends)


def _prompt(
    assistant: Any, input_ids: Tensor, inputs_tensor: Tensor | None, prompt_mask: Tensor | None
) -> dict[str, Any]:
    """The prompt of the call as the draft's own ``generate`` takes it."""
    if assistant.config.is_encoder_decoder:
        prompt = {assistant.main_input_name: inputs_tensor, "decoder_input_ids": input_ids}
        return prompt if prompt_mask is None else {**prompt, "attention_mask": prompt_mask}
    mask = torch.ones_like(input_ids) if prompt_mask is None else prompt_mask
    return {"input_ids": input_ids, "attention_mask": mask}


def _config(config: Any) -> Any:
    """The call's configuration without what belongs to the whole call: lengths but the longest, outputs, its mode."""
    own = copy.deepcopy(config)
    own.num_beams = own.num_return_sequences = 1
    own.return_dict_in_generate = own.output_scores = own.output_logits = False
    own.output_attentions = own.output_hidden_states = False
    own.min_length = 0 if config.min_length is not None else None
    own.min_new_tokens = own.max_new_tokens = own.max_time = own.stop_strings = own.cache_implementation = None
    own.assistant_early_exit = own.prompt_lookup_num_tokens = None
    own.use_cache = True
    return own


def _capture(
    model: Any, input_ids: Tensor, logits_processor: Any, stopping_criteria: Any, generation_config: Any, **kwargs: Any
) -> tuple[Tensor, dict[str, Any], Any, Any]:
    """A custom loop that runs nothing and hands over what was prepared for it."""
    return input_ids, kwargs, generation_config, logits_processor


def first_layers(model: Any, count: int) -> Any:
    """The same model stopping after ``count`` layers: another object with its own configuration, shared weights."""
    if not isinstance(count, int) or not 1 <= count <= model.config.get_text_config().num_hidden_layers:
        layers = model.config.get_text_config().num_hidden_layers
        raise ValueError(f"assistant_early_exit must be a layer count in 1..{layers}; got {count!r}")
    config = copy.deepcopy(model.config)
    every = model.config.get_text_config().num_hidden_layers
    config.get_text_config().num_hidden_layers = count
    twin, base = _twin(model), _twin(model.base_model)
    for name, child in base._modules.items():
        if isinstance(child, torch.nn.ModuleList) and len(child) == every:
            base._modules[name] = child[:count]
    twin.config = base.config = config
    twin._modules[model.base_model_prefix] = base
    return twin


def _twin(module: Any) -> Any:
    kind: Any = type(module)
    twin = kind.__new__(kind)
    twin.__dict__.update(module.__dict__)
    twin.__dict__["_modules"] = dict(module._modules)
    return twin
