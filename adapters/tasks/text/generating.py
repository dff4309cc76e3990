"""What the tasks that generate text share: which options reach ``generate``, and its rows cut back to each item."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import cache
from typing import Any

import torch

from ...generation.request import GRAMMAR_OPTIONS, NEW_NAMES, grammar_of_row, has_grammar_rows, uncut_beams
from ...running.batching import Batch
from ...running.item_seeds import ItemSeeds
from ...running.loaded import Loaded

# Keyword arguments of generate that are no fields of its configuration; from seeds on they are this engine's own.
_CALL_OPTIONS = (
    "generation_config",
    "assistant_model",
    "assistant_tokenizer",
    "stopping_criteria",
    "logits_processor",
    "prefix_allowed_tokens_fn",
    "streamer",
    "negative_prompt_ids",
    "negative_prompt_attention_mask",
    "custom_generate",
    "use_model_defaults",
    "seeds",
    "compact",
    *NEW_NAMES,
    *GRAMMAR_OPTIONS,
    "grammar_engine",
)
# A pipeline's own defaults of these count only where it samples; generate warns about them otherwise.
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")


@cache
def generate_options() -> frozenset[str]:
    """Every option ``generate`` takes: the fields of its configuration and its keyword arguments."""
    from transformers import GenerationConfig

    # num_beam_groups and the like left the configuration of version 5; this engine still serves them.
    gone = ("num_beam_groups", "diversity_penalty", "penalty_alpha", "constraints", "force_words_ids", "dola_layers")
    fields = (name for name in vars(GenerationConfig()) if not name.startswith("_"))
    return frozenset({*fields, *gone, *_CALL_OPTIONS} - {"transformers_version"})


def with_defaults(loaded: Loaded, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for generate by the rule of version 5: a default of the pipeline counts only where neither the
    caller nor the model's own generation configuration says otherwise."""
    config = given.get("generation_config")
    known = {**_stated_by_model(loaded), **(_stated(config) if config is not None else {}), **given}
    added = {name: value for name, value in defaults.items() if name not in known}
    if "max_length" in known:
        added.pop("max_new_tokens", None)
    if loaded.tokenizer.pad_token_id is not None and "pad_token_id" not in known:
        added["pad_token_id"] = loaded.tokenizer.pad_token_id
    if not {**known, **added}.get("do_sample"):
        added = {name: value for name, value in added.items() if name not in _SAMPLING}
    if config is None:
        return {**given, **added}
    config = deepcopy(config)
    config.update(**added)
    return {**given, "generation_config": config}


def specific_params(loaded: Loaded) -> dict[str, Any]:
    """What the model's configuration says for the task by the name it was asked for; for plain "translation", for the
    first language pair it names."""
    every = getattr(loaded.config, "task_specific_params", None) or {}
    name = loaded.task
    if name == "translation":
        name = next((key for key in every if key.startswith("translation")), name)
    found: dict[str, Any] = every.get(name, {})
    return found


def version_4_config(loaded: Loaded, defaults: Mapping[str, Any]) -> Any:
    """The generation configuration of a pipeline by the rule of version 4.57: its defaults stand above the model's own
    values, the options it was built with above both, and the model's task_specific_params above all."""
    config = deepcopy(loaded.model.generation_config)
    built = {name: value for name, value in loaded.constructed.items() if hasattr(config, name)}
    config.update(**{**defaults, **built})
    if "max_new_tokens" not in built and config.max_length not in (None, 20):
        config.max_new_tokens = None
    config.update(**{name: value for name, value in specific_params(loaded).items() if name != "prefix"})
    if config.pad_token_id is None:
        config.pad_token_id = loaded.tokenizer.pad_token_id
    return config


def by_total_length(loaded: Loaded, arguments: Mapping[str, Any]) -> bool:
    """Whether generate counts the prompt in its limits, so that padding would change them."""
    longest = stated_value(loaded, arguments, "max_new_tokens") is None
    shortest = (stated_value(loaded, arguments, "min_length") or 0) > 0
    return longest or (shortest and stated_value(loaded, arguments, "min_new_tokens") is None)


def stated_value(loaded: Loaded, arguments: Mapping[str, Any], name: str) -> Any:
    """What generate will take for ``name``: the argument, its configuration's value, or the model's."""
    if name in arguments:
        return arguments[name]
    config = arguments.get("generation_config") or loaded.model.generation_config
    return getattr(config, name, None)


def must_keep_order(loaded: Loaded, arguments: Mapping[str, Any]) -> bool:
    """Whether batches must be transformers' own: given by size, or sampling from torch's stream, where the tokens of
    an item depend on what was drawn before it. Seeds per item lift that."""
    if loaded.batch_size is not None or stated_value(loaded, arguments, "return_dict_in_generate"):
        return True
    if any(
        stated_value(loaded, arguments, name) is not None for name in ("stop_strings", "stopping_criteria", "max_time")
    ):
        return True  # rows that end without an end token: padding could not be told from what they generated
    samples = bool(stated_value(loaded, arguments, "do_sample"))
    return (samples and arguments.get("seeds") is None and loaded.compat) or arguments.get("streamer") is not None


def with_grammars(loaded: Loaded, arguments: Mapping[str, Any], items: Sequence[int]) -> dict[str, Any]:
    """``arguments`` for the prompts of ``items``: a grammar that has one value for every item is cut to theirs, and
    the tokenizer goes with it."""
    given = {name: value for name in GRAMMAR_OPTIONS if (value := arguments.get(name)) is not None}
    if not given:
        return dict(arguments)
    own = {
        name: [grammar_of_row(name, value, item) for item in items] if has_grammar_rows(name, value) else value
        for name, value in given.items()
    }
    return {"tokenizer": loaded.tokenizer, **arguments, **own}


def keeps_padding(loaded: Loaded, kind: str) -> bool:
    """Whether token ids are returned with what pads the caller's batches, as transformers returns them."""
    return loaded.compat and kind == "tensors" and loaded.batch_size is not None


def run_generate(
    loaded: Loaded, batch: Batch, arguments: Mapping[str, Any], *, keep_padding: bool = False
) -> list[dict[str, Any]]:
    """Generate for a batch. Per row: ``sequences``, lists of ids without the padding of its neighbours (unless
    ``keep_padding``), ``prompt``, how many of them are the prompt's (0 for an encoder-decoder), and further outputs by
    name."""
    from ...generation.install import generate

    arguments = {**batch.inputs, **with_grammars(loaded, arguments, batch.items)}
    seeds = arguments.pop("seeds", None)
    if isinstance(seeds, ItemSeeds) and not stated_value(loaded, arguments, "do_sample"):
        seeds = None
    if seeds is not None:
        arguments["seeds"] = [seeds + index if isinstance(seeds, int) else seeds[index] for index in batch.items]
    with nullcontext() if keep_padding else uncut_beams():
        output = generate(loaded.model, **arguments)
    sequences = output if isinstance(output, torch.Tensor) else output.sequences
    rows, per_row = len(batch.rows), len(sequences) // len(batch.rows)
    others = {} if isinstance(output, torch.Tensor) else _other_outputs(output, rows, per_row)
    encoder_decoder = bool(getattr(loaded.config, "is_encoder_decoder", False))
    width = 0 if encoder_decoder else batch.inputs["input_ids"].shape[1]
    stops = _as_set(stated_value(loaded, arguments, "eos_token_id"))
    listed = sequences.tolist()
    results = []
    for row in range(rows):
        padding = width - batch.rows[row].length if width and not keep_padding else 0
        own = [sequence[padding:] for sequence in listed[row * per_row : (row + 1) * per_row]]
        prompt = width - padding
        end = None if keep_padding else max(_end(sequence, prompt, stops) for sequence in own)
        results.append(
            {
                "sequences": [sequence[:end] for sequence in own],
                "prompt": prompt,
                "others": {name: values[row] for name, values in others.items()},
            }
        )
    return results


def _end(sequence: Sequence[int], prompt: int, stops: set[int]) -> int:
    """Where a sequence ends: after its first end token, which longer rows of its batch pad on from, or where it is cut.

    A pad token without an end token before it was generated: it stays.
    """
    for place in range(max(prompt, 1), len(sequence)):
        if sequence[place] in stops:
            return place + 1
    return len(sequence)


def cut_beams(loaded: Loaded, arguments: Mapping[str, Any], sequences: torch.Tensor) -> torch.Tensor:
    """Rows [B, T] of an encoder-decoder on the host, as long as the longest of them; see ``uncut_beams``."""
    if (stated_value(loaded, arguments, "num_beams") or 1) == 1:
        return sequences
    stops = _as_set(stated_value(loaded, arguments, "eos_token_id"))
    return sequences[:, : max((_end(row, 0, stops) for row in sequences.tolist()), default=0)]


def _other_outputs(output: Mapping[str, Any], rows: int, per_row: int) -> dict[str, list[Any]]:
    """Further outputs of generate that have a value for every sequence, as nested lists by row."""
    found = {}
    for name, value in output.items():
        if name in ("sequences", "past_key_values", "cache"):
            continue
        if isinstance(value, tuple) and value and isinstance(value[0], torch.Tensor):
            value = torch.stack(value).swapaxes(0, 1) if len(value[0]) == rows * per_row else None
        if isinstance(value, torch.Tensor) and value.shape[:1] == (rows * per_row,):
            found[name] = value.reshape(rows, per_row, *value.shape[1:]).tolist()
    return found


def _stated_by_model(loaded: Loaded) -> dict[str, Any]:
    """What the model's own generation configuration says beyond its defaults; looked up again where it has changed."""
    now = vars(loaded.model.generation_config)
    kept: tuple[dict[str, Any], dict[str, Any]] | None = loaded.findings.get("stated")
    if kept is not None and _is_same(kept[0], now):
        return kept[1]
    found = _stated(loaded.model.generation_config)
    if all(isinstance(value, int | float | str | list | None) for value in found.values()):
        loaded.findings["stated"] = deepcopy(now), found
    return found


def _is_same(kept: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two configurations have the same fields, values and kinds of values."""
    pairs = zip(kept.values(), now.values(), strict=False)
    return kept.keys() == now.keys() and all(type(a) is type(b) and a == b for a, b in pairs)


def _stated(config: Any) -> dict[str, Any]:
    """What a generation configuration says beyond its defaults."""
    return {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}


def _as_set(token_ids: Any) -> set[int]:
    if token_ids is None:
        return set()
    if isinstance(token_ids, torch.Tensor):
        token_ids = token_ids.tolist()
    return {token_ids} if isinstance(token_ids, int) else set(token_ids)
