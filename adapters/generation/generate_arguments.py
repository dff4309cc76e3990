"""The arguments of ``generate`` for type checkers and editors.

Written by ``python -m tests.programs.typed_options``; a test holds it to the code.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

from torch import Tensor

__all__ = ["GenerateArguments"]


class GenerateArguments(TypedDict, total=False):
    """What ``generate`` takes by name beside the model's own inputs."""

    allowed_token_ids: Any
    assistant_confidence_threshold: float | None
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: int | None
    assistant_model: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: float | None
    do_sample: bool | None
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: bool | str | None
    encoder_no_repeat_ngram_size: int | None
    encoder_repetition_penalty: float | None
    eos_token_id: float | Sequence[Any] | Tensor | None
    epsilon_cutoff: float | Sequence[Any] | Tensor | None
    eta_cutoff: float | Sequence[Any] | Tensor | None
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    json_schema: Any
    jump_ahead: Any
    length_penalty: float | None
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: int | None
    max_matching_ngram_size: Any
    max_new_tokens: float | Sequence[Any] | Tensor | None
    max_time: Any
    min_length: int | None
    min_new_tokens: float | Sequence[Any] | Tensor | None
    min_p: float | Sequence[Any] | Tensor | None
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: float | Sequence[Any] | Tensor | None
    num_assistant_tokens: int | None
    num_assistant_tokens_schedule: Any
    num_beam_groups: int | None
    num_beams: int | None
    num_return_sequences: int | None
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: bool | None
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: bool | None
    renormalize_logits: Any
    repetition_penalty: float | Sequence[Any] | Tensor | None
    return_dict_in_generate: bool | None
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    synced_gpus: Any
    target_lookbehind: int | None
    temperature: float | Sequence[Any] | Tensor | None
    token_healing: Any
    top_h: float | Sequence[Any] | Tensor | None
    top_k: float | Sequence[Any] | Tensor | None
    top_n_sigma: Any
    top_p: float | Sequence[Any] | Tensor | None
    typical_p: float | Sequence[Any] | Tensor | None
    use_cache: bool | None
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any
    attention_mask: Tensor
    input_ids: Tensor
