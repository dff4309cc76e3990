"""Text to text with encoder-decoder models: text2text-generation, summarization and translation of version 4.57.6."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from warnings import warn

import torch

from ...running.batching import Batch, Row
from ...running.inputs import as_text, read_inputs
from ...running.loaded import Loaded
from ...running.options import require
from ...running.task import Call, Prepared, Task
from ...running.tokenising import lock_of, rows_of, tokenize
from ...running.views import Texts
from .generating import (
    generate_options,
    keeps_padding,
    must_keep_order,
    run_generate,
    specific_params,
    version_4_config,
)
from .text_generation import return_kind

DEFAULTS = {"max_new_tokens": 256, "num_beams": 4}
KINDS = ("tensors", "text")


@dataclass(frozen=True)
class Text2TextOptions:
    return_tensors: bool | None = None
    return_text: bool | None = None
    return_type: Any = None
    clean_up_tokenization_spaces: bool = False
    truncation: Any = False
    stop_sequence: str | None = None
    forwarded: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` is returned."""
        if self.return_type is not None:
            return return_kind(self.return_type, KINDS)
        return "tensors" if self.return_tensors else "text"


@dataclass(frozen=True)
class TranslationOptions(Text2TextOptions):
    src_lang: str | None = None
    tgt_lang: str | None = None


def parse(loaded: Loaded, item: Any, options: Text2TextOptions) -> str:
    return as_text(item)


def check(loaded: Loaded, options: Text2TextOptions, *, task: str) -> Text2TextOptions:
    require(
        bool(getattr(loaded.config, "is_encoder_decoder", False)),
        f"model must be an encoder-decoder for {task}; got {type(loaded.model).__name__}",
    )
    return options


def encode(loaded: Loaded, items: Sequence[str], options: Text2TextOptions, *, task: str) -> list[Prepared]:
    facts: dict[str, Any] = {}
    encoded: Any
    if task == "translation" and getattr(loaded.tokenizer, "_build_translation_inputs", None):
        languages = {"src_lang": getattr(options, "src_lang", None), "tgt_lang": getattr(options, "tgt_lang", None)}
        with lock_of(loaded.tokenizer):
            encoded = loaded.tokenizer._build_translation_inputs(
                list(items), return_tensors=None, truncation=options.truncation, **languages
            )
        facts = {name: encoded[name] for name in list(encoded) if not isinstance(encoded[name], list)}
    else:
        prefix = _prefix(loaded)
        encoded = tokenize(loaded.tokenizer, [prefix + text for text in items], truncation=options.truncation)
    prepared = []
    for row in rows_of(encoded):
        inputs = {name: value for name, value in row.inputs.items() if name in ("input_ids", "attention_mask")}
        prepared.append(Prepared([Row(inputs, row.length, None, facts)]))
    return prepared


def _prefix(loaded: Loaded) -> str:
    """What the model expects in front of every text of this task, as its configuration says."""
    return specific_params(loaded).get("prefix") or getattr(loaded.config, "prefix", None) or ""


def _arguments(loaded: Loaded, options: Text2TextOptions) -> dict[str, Any]:
    """The keyword arguments of generate: a configuration made of the pipeline's defaults and the caller's options."""
    built, own = loaded.constructed, loaded.model.generation_config
    # What the pipeline was built with is in the configuration below, but for what is no field of one: seeds, grammars.
    called = {
        name: value
        for name, value in options.forwarded.items()
        if built.get(name) is not value or not (hasattr(own, name) or name == "generation_config")
    }
    if options.stop_sequence is not None:
        stops = tokenize(loaded.tokenizer, options.stop_sequence, add_special_tokens=False)["input_ids"]
        if len(stops) > 1:
            warn("stop_sequence is several tokens: generation stops at the first of them", UserWarning, stacklevel=2)
        called["eos_token_id"] = stops[0]
    if called.get("generation_config") is not None:
        return called
    called.pop("generation_config", None)
    config = version_4_config(loaded, DEFAULTS)
    fields = {name: value for name, value in called.items() if hasattr(config, name)}
    if not loaded.compat and "max_length" in fields and "max_new_tokens" not in fields:
        # 4.57.6 lets its own default of max_new_tokens outweigh the max_length of a call.
        config.max_new_tokens = None
    config.update(**fields)
    return {**{name: value for name, value in called.items() if name not in fields}, "generation_config": config}


def forward(loaded: Loaded, batch: Batch, options: Text2TextOptions) -> list[Any]:
    arguments = {**_arguments(loaded, options), **batch.rows[0].facts}
    return run_generate(loaded, batch, arguments, keep_padding=keeps_padding(loaded, options.kind))


def in_order(loaded: Loaded, options: Text2TextOptions) -> bool:
    return must_keep_order(loaded, _arguments(loaded, options))


def finish(
    loaded: Loaded,
    items: Sequence[Prepared],
    outputs: Sequence[Sequence[Any]],
    options: Text2TextOptions,
    *,
    field_name: str,
) -> list[Any]:
    finished = []
    for rows in outputs:
        records = Texts()
        for sequence in rows[0]["sequences"]:
            if options.kind == "tensors":
                records.append({f"{field_name}_token_ids": torch.tensor(sequence, device="cpu")})
                continue
            text = loaded.tokenizer.decode(
                sequence,
                skip_special_tokens=True,
                clean_up_tokenization_spaces=options.clean_up_tokenization_spaces,
            )
            records.append({f"{field_name}_text": text})
        finished.append(records)
    return finished


def shape(results: Any, call: Call) -> Any:
    """A list of strings gives a flat list of records where each has one."""
    of_strings = call.kind == "list" and all(isinstance(item, str) for item in call.items)
    if of_strings and all(isinstance(result, list) and len(result) == 1 for result in results):
        return type(results)(result[0] for result in results)
    return results


def _task(name: str, field_name: str, options: type[Any], aliases: tuple[str, ...] = ()) -> Task:
    """The three tasks of encoder-decoders, which differ in name, record and options."""
    return Task(
        name=name,
        aliases=aliases,
        auto_classes=("AutoModelForSeq2SeqLM",),
        options=options,
        read=read_inputs,
        parse=parse,
        encode=partial(encode, task=name),
        forward=forward,
        finish=partial(finish, field_name=field_name),
        check=partial(check, task=name),
        forwarded=generate_options,
        in_order=in_order,
        shape=shape,
    )


TEXT2TEXT = _task("text2text-generation", "generated", Text2TextOptions)
SUMMARIZATION = _task("summarization", "summary", Text2TextOptions)
TRANSLATION = _task("translation", "translation", TranslationOptions)
