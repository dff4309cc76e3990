"""The parameters of a request: which a stranger may set, under which names they come, how large they may be."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ..running.task import Task
from .errors import Refused, invalid
from .settings import Limits

# Options that name code, files, addresses, other models, or objects of Python: never set over a network.
REFUSED = frozenset(
    {
        *("allow_urls", "timeout", "trust_remote_code", "model_kwargs", "device", "dtype", "token", "revision"),
        *("assistant_model", "assistant_tokenizer", "custom_generate", "generation_config", "compile_config"),
        *("cache_implementation", "cache_config", "continuous_batching_config", "prefill_chunk_size"),
        *("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "streamer", "seeds", "synced_gpus"),
        *("vocoder", "noise_scheduler", "decoder", "decoder_kwargs", "tesseract_config", "chat_template"),
        *("return_tensors", "output", "on_error", "progress", "num_workers", "batch_size", "batch_tokens", "compat"),
        *("return_dict_in_generate", "output_attentions", "output_hidden_states", "output_scores", "output_logits"),
        *("past_key_values", "cache", "inputs_embeds", "forward_params", "preprocess_params", "negative_prompt_ids"),
        *(
            "watermarking_config",
            "tokenizer",
            "grammar_engine",
            "running_batch",
            "head_mask",
            "token_healing",
            "low_memory",
            "use_model_defaults",
        ),
    }
)
# Numbers that decide how much work or memory one input takes.
_MOST: dict[str, float] = {
    "num_beams": 16,
    "num_return_sequences": 16,
    "num_beam_groups": 16,
    "top_k": 100_000,
    "points_per_crop": 64,
    "points_per_batch": 256,
    "crops_n_layers": 2,
    "crop_n_layers": 2,
    "num_frames": 64,
    "prompt_lookup_num_tokens": 32,
    "doc_stride": 4096,
    "max_seq_len": 8192,
    "labels_per_entity": 1000,
}
_LEAST: dict[str, float] = {"tile": 64, "chunk_length_s": 0, "max_new_tokens": 1}
_LENGTHS = ("max_new_tokens", "max_length", "min_new_tokens", "min_length")
_WITHOUT_OPTIONS = ("logit_bias", "json_schema")  # objects whose names are no options
_STOPS = 16
_LISTS = ("candidate_labels", "targets", "text_queries", "query", "question", "choices", "questions")
_LISTED = 1000
_GRAMMAR = 16_384
_LANGUAGE = re.compile(r"[A-Za-z_]+(\+[A-Za-z_]+)*")
# Names of the clients that mean an option of another name here, for tasks that make text.
_RENAMED = {"stop": "stop_sequence", "stop_sequences": "stop_sequence"}


def read_parameters(task: Task, body: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """The options of a call from a body's ``parameters``, those of the clients' own names under today's.

    Raises Refused (422) for an option that must not be set from outside, and for one that is too large.
    """
    given = body.get("parameters")
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise invalid(f"parameters must be an object; got {type(given).__name__}")
    options = {name: value for name, value in given.items() if value is not None}
    if task.name == "table-question-answering":
        options.pop("model", None)  # the client sends the address it was given
    if task.name == "feature-extraction":
        options.update(_of_embeddings(body))
    nested = options.pop("generate_parameters", None)
    if nested is not None:
        if not isinstance(nested, Mapping):
            raise invalid(f"generate_parameters must be an object; got {type(nested).__name__}")
        options = {**options, **{name: value for name, value in nested.items() if value is not None}}
    if "do_sample" in task.forwarded():
        options = _of_generation(options)
    options = _grouped(task, options)
    check_options(options, limits)
    return options


def _of_embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """feature-extraction has its parameters beside ``inputs``, by names of text-embeddings-inference."""
    options: dict[str, Any] = {}
    if body.get("truncate") is not None:
        options["truncation"] = body["truncate"]
    if str(body.get("truncation_direction") or "right").lower() != "right":
        raise invalid("truncation_direction must be 'right': the tokenizer cuts there")
    if body.get("normalize"):
        options |= {"normalize": True, "pooling": "mean"}
    for name in ("prompt_name", "dimensions"):
        if body.get(name) is not None:
            raise invalid(f"{name} must not be given: this model has none of it")
    if body.get("encoding_format") not in (None, "float"):
        raise invalid(f"encoding_format must be 'float'; got {body['encoding_format']!r}")
    return options


def _of_generation(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of text generation under today's names, with what JSON cannot say made what it stands for."""
    options = {_RENAMED.get(name, name): value for name, value in given.items()}
    _refuse_absent(options)
    _check_stops("stop", options.get("stop_sequence"))
    _check_stops("stop_strings", options.get("stop_strings"))
    if isinstance(options.get("grammar"), Mapping):
        options |= grammar_options(options.pop("grammar"))
    check_grammars(options)
    if isinstance(options.get("logit_bias"), Mapping):
        options["logit_bias"] = _biases(options["logit_bias"])
    return options


def _refuse_absent(options: dict[str, Any]) -> None:
    """Parameters of text-generation-inference that this server has nothing for."""
    for name in ("adapter_id", "decoder_input_details", "watermark"):
        value = options.pop(name, None)
        if value not in (None, False):
            raise invalid(f"{name} must be left out: this server does not have it", param=name)


def grammar_options(form: Mapping[str, Any]) -> dict[str, Any]:
    """The option that a client's grammar is here: text-generation-inference's ``{"type", "value"}`` or OpenAI's
    ``response_format``; none for plain text.

    >>> grammar_options({"type": "regex", "value": "[0-9]+"}), grammar_options({"type": "text"})
    ({'regex': '[0-9]+'}, {})
    """
    kind, value = form.get("type"), form.get("value")
    if kind == "text":
        return {}
    if kind == "regex" and isinstance(value, str):
        found: dict[str, Any] = {"regex": value}
    elif kind in ("json", "json_object") or (kind == "json_schema" and "json_schema" not in form):
        found = {"json_schema": {"type": "object"} if value is None else value}
    elif kind == "json_schema" and isinstance(form["json_schema"], Mapping) and "schema" in form["json_schema"]:
        found = {"json_schema": form["json_schema"]["schema"]}
    else:
        raise invalid(f"grammar must be text, regex, json or json_schema with its value; got {kind!r}", param="grammar")
    return found


def check_grammars(options: Mapping[str, Any]) -> None:
    """Refuse a grammar that is too long to be compiled while others wait."""
    for name in ("json_schema", "regex", "grammar", "choices"):
        length = len(json.dumps(options[name])) if options.get(name) is not None else 0
        if length > _GRAMMAR:
            raise invalid(f"{name} must have at most {_GRAMMAR:,} characters; got {length:,}", param=name)


def _check_stops(name: str, stops: Any) -> None:
    listed = [stops] if isinstance(stops, str) else [] if stops is None else stops
    if not isinstance(listed, list) or not all(isinstance(each, str) and each for each in listed):
        raise invalid(f"{name} must be texts that are not empty; got {stops!r}", param=name)
    if len(listed) > _STOPS:
        raise invalid(f"{name} must hold at most {_STOPS} texts; got {len(listed)}", param=name)


def _biases(given: Mapping[str, Any]) -> dict[int, Any]:
    """Biases by token id: JSON has no numbers for names."""
    try:
        return {int(token): bias for token, bias in given.items()}
    except ValueError:
        raise invalid("logit_bias must have token ids for names", param="logit_bias") from None


def _grouped(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    """Options of generate in ``generate_kwargs`` where the task takes them there."""
    from ..running.options import option_names
    from ..tasks.text.generating import generate_options

    own = option_names(task.options)
    if "generate_kwargs" not in own or "do_sample" in task.forwarded():
        return options
    moved = {name: value for name, value in options.items() if name not in own and name in generate_options()}
    if not moved:
        return options
    kept = {name: value for name, value in options.items() if name not in moved}
    return {**kept, "generate_kwargs": {**(kept.get("generate_kwargs") or {}), **moved}}


def check_options(options: Mapping[str, Any], limits: Limits) -> None:
    """Refuse what may not be set from outside, at any depth, and numbers beyond the limits."""
    for name, value in options.items():
        if name in REFUSED:
            raise Refused(422, f"{name} must not be set over the network", param=name)
        if name == "lang" and not (isinstance(value, str) and _LANGUAGE.fullmatch(value)):
            raise invalid(f"lang must be a language of tesseract; got {value!r}", param=name)
        if isinstance(value, Mapping) and name not in _WITHOUT_OPTIONS:
            check_options(value, limits)
        elif name in _LISTS:
            check_list(name, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(name, value, limits)


def check_list(name: str, value: Any) -> None:
    """Every label or word of a list is a row of the model, or as much work as one."""
    count = value.count(",") + 1 if isinstance(value, str) else len(value) if isinstance(value, list) else 0
    if count > _LISTED:
        raise invalid(f"{name} must hold at most {_LISTED}; got {count:,}", param=name)


def _check_number(name: str, value: float, limits: Limits) -> None:
    most = limits.new_tokens if name in _LENGTHS else _MOST.get(name)
    if most is not None and value > most:
        raise invalid(f"{name} must be at most {most}; got {value}", param=name)
    least = _LEAST.get(name)
    if least is not None and value < least:
        raise invalid(f"{name} must be at least {least:g}; got {value}", param=name)


def check_inputs(inputs: Any, limits: Limits) -> int:
    """How many inputs a request holds. Raises Refused (422) for too many, or a text that is too long."""
    rows = len(inputs) if isinstance(inputs, list) else 1
    if rows > limits.rows:
        raise invalid(f"inputs must be at most {limits.rows}; got {rows}")
    _check_lists(inputs)
    longest = max(_lengths(inputs), default=0)
    if longest > limits.text_characters:
        raise invalid(f"inputs must have at most {limits.text_characters:,} characters each; got {longest:,}")
    return rows


def _check_lists(value: Any) -> None:
    """The same lists where they stand in an input."""
    for item in value if isinstance(value, list) else [value]:
        for name in _LISTS if isinstance(item, Mapping) else ():
            if isinstance(item.get(name), list):
                check_list(name, item[name])


def _lengths(value: Any) -> list[int]:
    if isinstance(value, str):
        return [len(value)]
    if isinstance(value, list):
        return [length for each in value for length in _lengths(each)]
    if isinstance(value, Mapping):
        return [length for each in value.values() for length in _lengths(each)]
    return []
