"""``pipeline`` for type checkers and editors: an overload a task.

Written by ``python -m tests.programs.typed_options``; a test holds it to the code.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, overload

from typing_extensions import Unpack

from ..pipelines import Pipeline


class LoadArguments(TypedDict, total=False):
    """What every task takes at construction."""

    feature_extractor: Any
    image_processor: Any
    video_processor: Any
    processor: Any
    revision: str | None
    use_fast: bool | None
    token: str | bool | None
    device: Any
    device_map: Any
    dtype: Any
    trust_remote_code: bool | None
    model_kwargs: Mapping[str, Any] | None
    pipeline_class: Any
    torch_dtype: Any
    framework: str | None
    modelcard: Any
    args_parser: Any
    binary_output: bool
    use_auth_token: str | bool | None
    local_files_only: bool | None
    code_revision: str | None
    compat: bool
    batch_size: int | None
    batch_tokens: int | None
    num_workers: int | None
    progress: bool
    on_error: str
    output: str


class AutomaticSpeechRecognitionArguments(LoadArguments, total=False):
    """Of automatic-speech-recognition."""

    chunk_length_s: Any
    stride_length_s: Any
    ignore_warning: Any
    return_timestamps: Any
    return_language: Any
    decoder: Any
    decoder_kwargs: Any
    generate_kwargs: Any
    confidence: Any
    attention: Any
    skip_silence: Any
    allow_urls: Any
    timeout: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    compression_ratio_threshold: Any
    condition_on_prev_tokens: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_unique_generate_call: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    is_multilingual: Any
    json_schema: Any
    language: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    logprob_threshold: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    monitor_progress: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    no_speech_threshold: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    num_segment_frames: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_condition_type: Any
    prompt_ids: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    return_segments: Any
    return_token_timestamps: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    time_precision: Any
    time_precision_features: Any
    token_healing: Any
    top_h: Any
    top_k: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class AudioClassificationArguments(LoadArguments, total=False):
    """Of audio-classification."""

    top_k: Any
    function_to_apply: Any
    allow_urls: Any
    timeout: Any


class ZeroShotAudioClassificationArguments(LoadArguments, total=False):
    """Of zero-shot-audio-classification."""

    candidate_labels: Any
    hypothesis_template: Any
    allow_urls: Any
    timeout: Any


class TextToAudioArguments(LoadArguments, total=False):
    """Of text-to-audio."""

    vocoder: Any
    sampling_rate: Any
    noise_scheduler: Any
    preprocess_params: Any
    processor_kwargs: Any
    forward_params: Any
    generate_kwargs: Any


class ForcedAlignmentArguments(LoadArguments, total=False):
    """Of forced-alignment."""

    unknown: Any
    allow_urls: Any
    timeout: Any


class DocumentQuestionAnsweringArguments(LoadArguments, total=False):
    """Of document-question-answering."""

    top_k: Any
    doc_stride: Any
    max_answer_len: Any
    max_seq_len: Any
    max_question_len: Any
    handle_impossible_answer: Any
    padding: Any
    lang: Any
    tesseract_config: Any
    boxes: Any
    question: Any
    timeout: Any
    allow_urls: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    json_schema: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    token_healing: Any
    top_h: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class VisualQuestionAnsweringArguments(LoadArguments, total=False):
    """Of visual-question-answering."""

    top_k: Any
    padding: Any
    truncation: Any
    timeout: Any
    allow_urls: Any
    question: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    json_schema: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    token_healing: Any
    top_h: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class ImageToTextArguments(LoadArguments, total=False):
    """Of image-to-text."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    max_new_tokens: Any
    generate_kwargs: Any
    prompt: Any


class ImageTextToTextArguments(LoadArguments, total=False):
    """Of image-text-to-text."""

    max_new_tokens: Any
    generate_kwargs: Any
    timeout: Any
    allow_urls: Any
    return_full_text: Any
    return_tensors: Any
    return_type: Any
    clean_up_tokenization_spaces: Any
    stop_sequence: Any
    continue_final_message: Any
    skip_special_tokens: Any
    processor_kwargs: Any
    tools: Any
    add_special_tokens: Any
    chat_template: Any
    crop_size: Any
    data_format: Any
    default_to_square: Any
    disable_grouping: Any
    do_center_crop: Any
    do_convert_rgb: Any
    do_normalize: Any
    do_pad: Any
    do_rescale: Any
    do_resize: Any
    do_sample_frames: Any
    documents: Any
    enable_thinking: Any
    fps: Any
    image_mean: Any
    image_seq_length: Any
    image_std: Any
    input_data_format: Any
    is_split_into_words: Any
    load_audio_backend: Any
    load_audio_from_video: Any
    max_length: Any
    num_frames: Any
    pad_size: Any
    pad_to_multiple_of: Any
    padding: Any
    padding_side: Any
    raw_speech: Any
    resample: Any
    rescale_factor: Any
    return_attention_mask: Any
    return_length: Any
    return_metadata: Any
    return_mm_token_type_ids: Any
    return_offsets_mapping: Any
    return_overflowing_tokens: Any
    return_special_tokens_mask: Any
    return_text_replacement_offsets: Any
    return_token_type_ids: Any
    sampling_rate: Any
    sanitize_control_tokens: Any
    size: Any
    stride: Any
    text_pair: Any
    text_pair_target: Any
    text_target: Any
    truncation: Any
    verbose: Any
    video_metadata: Any


class AnyToAnyArguments(LoadArguments, total=False):
    """Of any-to-any."""

    max_new_tokens: Any
    generate_kwargs: Any
    timeout: Any
    allow_urls: Any
    return_full_text: Any
    return_tensors: Any
    return_type: Any
    clean_up_tokenization_spaces: Any
    stop_sequence: Any
    continue_final_message: Any
    skip_special_tokens: Any
    processor_kwargs: Any
    tools: Any
    generation_mode: Any
    add_special_tokens: Any
    chat_template: Any
    crop_size: Any
    data_format: Any
    default_to_square: Any
    disable_grouping: Any
    do_center_crop: Any
    do_convert_rgb: Any
    do_normalize: Any
    do_pad: Any
    do_rescale: Any
    do_resize: Any
    do_sample_frames: Any
    documents: Any
    enable_thinking: Any
    fps: Any
    image_mean: Any
    image_seq_length: Any
    image_std: Any
    input_data_format: Any
    is_split_into_words: Any
    load_audio_backend: Any
    load_audio_from_video: Any
    max_length: Any
    num_frames: Any
    pad_size: Any
    pad_to_multiple_of: Any
    padding: Any
    padding_side: Any
    raw_speech: Any
    resample: Any
    rescale_factor: Any
    return_attention_mask: Any
    return_length: Any
    return_metadata: Any
    return_mm_token_type_ids: Any
    return_offsets_mapping: Any
    return_overflowing_tokens: Any
    return_special_tokens_mask: Any
    return_text_replacement_offsets: Any
    return_token_type_ids: Any
    sampling_rate: Any
    sanitize_control_tokens: Any
    size: Any
    stride: Any
    text_pair: Any
    text_pair_target: Any
    text_target: Any
    truncation: Any
    verbose: Any
    video_metadata: Any


class DecisionArguments(LoadArguments, total=False):
    """Of decision."""

    decision_config: Any


class QuestionAnsweringArguments(LoadArguments, total=False):
    """Of question-answering."""

    top_k: Any
    doc_stride: Any
    max_answer_len: Any
    max_seq_len: Any
    max_question_len: Any
    handle_impossible_answer: Any
    align_to_words: Any
    padding: Any


class TokenClassificationArguments(LoadArguments, total=False):
    """Of token-classification."""

    aggregation_strategy: Any
    ignore_labels: Any
    stride: Any
    offset_mapping: Any
    is_split_into_words: Any
    delimiter: Any
    scheme: Any
    use_word_ids: Any
    labels_per_entity: Any


class TextClassificationArguments(LoadArguments, total=False):
    """Of text-classification."""

    top_k: Any
    function_to_apply: Any
    add_special_tokens: Any
    max_length: Any
    pad_to_multiple_of: Any
    padding: Any
    padding_side: Any
    return_attention_mask: Any
    return_token_type_ids: Any
    truncation: Any
    truncation_side: Any


class ZeroShotClassificationArguments(LoadArguments, total=False):
    """Of zero-shot-classification."""

    candidate_labels: Any
    hypothesis_template: Any
    multi_label: Any


class FillMaskArguments(LoadArguments, total=False):
    """Of fill-mask."""

    top_k: Any
    targets: Any
    tokenizer_kwargs: Any


class TextGenerationArguments(LoadArguments, total=False):
    """Of text-generation."""

    return_full_text: Any
    return_tensors: Any
    return_text: Any
    return_type: Any
    clean_up_tokenization_spaces: Any
    prefix: Any
    handle_long_generation: Any
    stop_sequence: Any
    truncation: Any
    padding: Any
    add_special_tokens: Any
    continue_final_message: Any
    skip_special_tokens: Any
    tokenizer_encode_kwargs: Any
    tools: Any
    documents: Any
    running_batch: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    json_schema: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    token_healing: Any
    top_h: Any
    top_k: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class Text2textGenerationArguments(LoadArguments, total=False):
    """Of text2text-generation."""

    return_tensors: Any
    return_text: Any
    return_type: Any
    clean_up_tokenization_spaces: Any
    truncation: Any
    stop_sequence: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    json_schema: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    token_healing: Any
    top_h: Any
    top_k: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class SummarizationArguments(LoadArguments, total=False):
    """Of summarization."""

    return_tensors: Any
    return_text: Any
    return_type: Any
    clean_up_tokenization_spaces: Any
    truncation: Any
    stop_sequence: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    json_schema: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    token_healing: Any
    top_h: Any
    top_k: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class TranslationArguments(LoadArguments, total=False):
    """Of translation."""

    return_tensors: Any
    return_text: Any
    return_type: Any
    clean_up_tokenization_spaces: Any
    truncation: Any
    stop_sequence: Any
    src_lang: Any
    tgt_lang: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    json_schema: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    token_healing: Any
    top_h: Any
    top_k: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class FeatureExtractionArguments(LoadArguments, total=False):
    """Of feature-extraction."""

    truncation: Any
    tokenize_kwargs: Any
    return_tensors: Any
    pooling: Any
    normalize: Any


class TableQuestionAnsweringArguments(LoadArguments, total=False):
    """Of table-question-answering."""

    sequential: Any
    padding: Any
    truncation: Any
    allowed_token_ids: Any
    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_ensemble_weight: Any
    assistant_lookbehind: Any
    assistant_model: Any
    assistant_tokenizer: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    choices: Any
    compact: Any
    compile_config: Any
    constraints: Any
    continuous_batching_config: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: Any
    diversity_penalty: Any
    do_sample: Any
    dola_layers: Any
    dry_allowed_length: Any
    dry_base: Any
    dry_multiplier: Any
    dry_penalty_last_n: Any
    dry_sequence_breakers: Any
    dynamic_exponent: Any
    dynamic_temperature: Any
    early_stopping: Any
    encoder_no_repeat_ngram_size: Any
    encoder_repetition_penalty: Any
    eos_token_id: Any
    epsilon_cutoff: Any
    eta_cutoff: Any
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    frequency_penalty: Any
    generation_config: Any
    grammar: Any
    grammar_engine: Any
    guidance_scale: Any
    is_assistant: Any
    json_schema: Any
    length_penalty: Any
    logit_bias: Any
    logits_processor: Any
    low_memory: Any
    max_cache_len: Any
    max_length: Any
    max_matching_ngram_size: Any
    max_new_tokens: Any
    max_time: Any
    min_length: Any
    min_new_tokens: Any
    min_p: Any
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: Any
    num_assistant_tokens: Any
    num_assistant_tokens_schedule: Any
    num_beam_groups: Any
    num_beams: Any
    num_return_sequences: Any
    output_attentions: Any
    output_hidden_states: Any
    output_logits: Any
    output_scores: Any
    pad_token_id: Any
    penalty_alpha: Any
    prefill_chunk_size: Any
    prefix_allowed_tokens_fn: Any
    presence_penalty: Any
    prompt_lookup_num_tokens: Any
    regex: Any
    remove_invalid_values: Any
    renormalize_logits: Any
    repetition_penalty: Any
    return_dict_in_generate: Any
    seeds: Any
    sequence_bias: Any
    speculation_type: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    target_lookbehind: Any
    temperature: Any
    token_healing: Any
    top_h: Any
    top_k: Any
    top_n_sigma: Any
    top_p: Any
    typical_p: Any
    use_cache: Any
    use_model_defaults: Any
    use_mtp: Any
    watermarking_config: Any
    xtc_probability: Any
    xtc_threshold: Any


class MultipleChoiceArguments(LoadArguments, total=False):
    """Of multiple-choice."""

    add_special_tokens: Any
    max_length: Any
    pad_to_multiple_of: Any
    padding: Any
    padding_side: Any
    return_attention_mask: Any
    return_token_type_ids: Any
    truncation: Any
    truncation_side: Any


class NextSentencePredictionArguments(LoadArguments, total=False):
    """Of next-sentence-prediction."""

    add_special_tokens: Any
    max_length: Any
    pad_to_multiple_of: Any
    padding: Any
    padding_side: Any
    return_attention_mask: Any
    return_token_type_ids: Any
    truncation: Any
    truncation_side: Any


class DepthEstimationArguments(LoadArguments, total=False):
    """Of depth-estimation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    parameters: Any


class GroundedDetectionArguments(LoadArguments, total=False):
    """Of grounded-detection."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    threshold: Any
    text_threshold: Any
    text: Any


class ImageGuidedDetectionArguments(LoadArguments, total=False):
    """Of image-guided-detection."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    threshold: Any
    nms_threshold: Any
    query_image: Any


class ImageClassificationArguments(LoadArguments, total=False):
    """Of image-classification."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    top_k: Any
    function_to_apply: Any


class ImageFeatureExtractionArguments(LoadArguments, total=False):
    """Of image-feature-extraction."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    pool: Any
    return_tensors: Any
    image_processor_kwargs: Any


class ImageSegmentationArguments(LoadArguments, total=False):
    """Of image-segmentation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    subtask: Any
    threshold: Any
    mask_threshold: Any
    overlap_mask_area_threshold: Any
    label_thresholds: Any
    masks: Any


class InstanceSegmentationArguments(LoadArguments, total=False):
    """Of instance-segmentation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    subtask: Any
    threshold: Any
    mask_threshold: Any
    overlap_mask_area_threshold: Any
    label_thresholds: Any
    masks: Any


class PanopticSegmentationArguments(LoadArguments, total=False):
    """Of panoptic-segmentation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    subtask: Any
    threshold: Any
    mask_threshold: Any
    overlap_mask_area_threshold: Any
    label_thresholds: Any
    masks: Any


class SemanticSegmentationArguments(LoadArguments, total=False):
    """Of semantic-segmentation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    subtask: Any
    threshold: Any
    mask_threshold: Any
    overlap_mask_area_threshold: Any
    label_thresholds: Any
    masks: Any


class UniversalSegmentationArguments(LoadArguments, total=False):
    """Of universal-segmentation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    subtask: Any
    threshold: Any
    mask_threshold: Any
    overlap_mask_area_threshold: Any
    label_thresholds: Any
    masks: Any


class ImageToImageArguments(LoadArguments, total=False):
    """Of image-to-image."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    head_mask: Any


class MaskedImageModelingArguments(LoadArguments, total=False):
    """Of masked-image-modeling."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    mask_ratio: Any
    seed: Any
    bool_masked_pos: Any


class KeypointDetectionArguments(LoadArguments, total=False):
    """Of keypoint-detection."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    threshold: Any
    top_k: Any
    descriptors: Any


class KeypointMatchingArguments(LoadArguments, total=False):
    """Of keypoint-matching."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    threshold: Any


class MaskGenerationArguments(LoadArguments, total=False):
    """Of mask-generation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    points_per_batch: Any
    points_per_crop: Any
    crops_n_layers: Any
    crop_overlap_ratio: Any
    crop_n_points_downscale_factor: Any
    pred_iou_thresh: Any
    stability_score_thresh: Any
    mask_threshold: Any
    stability_score_offset: Any
    crops_nms_thresh: Any
    max_hole_area: Any
    max_sprinkle_area: Any
    output_rle_mask: Any
    output_bboxes_mask: Any
    masks: Any


class ObjectDetectionArguments(LoadArguments, total=False):
    """Of object-detection."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    threshold: Any
    label_thresholds: Any
    iou_threshold: Any
    tile: Any
    overlap: Any
    merge: Any


class PoseEstimationArguments(LoadArguments, total=False):
    """Of pose-estimation."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    threshold: Any
    kernel_size: Any
    boxes: Any
    dataset_index: Any


class VideoClassificationArguments(LoadArguments, total=False):
    """Of video-classification."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    top_k: Any
    num_frames: Any
    frame_sampling_rate: Any
    function_to_apply: Any


class ZeroShotImageClassificationArguments(LoadArguments, total=False):
    """Of zero-shot-image-classification."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    candidate_labels: Any
    hypothesis_template: Any
    tokenizer_kwargs: Any


class ZeroShotObjectDetectionArguments(LoadArguments, total=False):
    """Of zero-shot-object-detection."""

    timeout: Any
    allow_urls: Any
    input_data_format: Any
    threshold: Any
    label_thresholds: Any
    iou_threshold: Any
    tile: Any
    overlap: Any
    merge: Any
    top_k: Any
    candidate_labels: Any


@overload
def pipeline(
    task: Literal["automatic-speech-recognition", "asr"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[AutomaticSpeechRecognitionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["audio-classification"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[AudioClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-audio-classification"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ZeroShotAudioClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["text-to-audio", "text-to-speech"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[TextToAudioArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["forced-alignment"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ForcedAlignmentArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["document-question-answering"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[DocumentQuestionAnsweringArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["visual-question-answering", "vqa"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[VisualQuestionAnsweringArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["image-to-text"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ImageToTextArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["image-text-to-text"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ImageTextToTextArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["any-to-any"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[AnyToAnyArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["decision"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[DecisionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["question-answering"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[QuestionAnsweringArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["token-classification", "ner"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[TokenClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["text-classification", "sentiment-analysis"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[TextClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ZeroShotClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["fill-mask"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[FillMaskArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["text-generation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[TextGenerationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["text2text-generation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[Text2textGenerationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["summarization"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[SummarizationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["translation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[TranslationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["feature-extraction"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[FeatureExtractionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["table-question-answering"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[TableQuestionAnsweringArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["multiple-choice"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[MultipleChoiceArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["next-sentence-prediction"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[NextSentencePredictionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["depth-estimation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[DepthEstimationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["grounded-detection"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[GroundedDetectionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["image-guided-detection"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ImageGuidedDetectionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["image-classification"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ImageClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["image-feature-extraction"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ImageFeatureExtractionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["image-segmentation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ImageSegmentationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["instance-segmentation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[InstanceSegmentationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["panoptic-segmentation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[PanopticSegmentationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["semantic-segmentation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[SemanticSegmentationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["universal-segmentation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[UniversalSegmentationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["image-to-image"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ImageToImageArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["masked-image-modeling"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[MaskedImageModelingArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["keypoint-detection"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[KeypointDetectionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["keypoint-matching"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[KeypointMatchingArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["mask-generation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[MaskGenerationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["object-detection"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ObjectDetectionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["pose-estimation"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[PoseEstimationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["video-classification"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[VideoClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-image-classification"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ZeroShotImageClassificationArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: Literal["zero-shot-object-detection"],
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    **arguments: Unpack[ZeroShotObjectDetectionArguments],
) -> Pipeline: ...
@overload
def pipeline(
    task: str | None = None, model: Any = None, config: Any = None, tokenizer: Any = None, **arguments: Any
) -> Pipeline: ...
def pipeline(
    task: str | None = None, model: Any = None, config: Any = None, tokenizer: Any = None, **arguments: Any
) -> Pipeline:
    """For type checkers alone; ``adapters.pipelines.pipeline`` is what runs."""
    raise NotImplementedError
