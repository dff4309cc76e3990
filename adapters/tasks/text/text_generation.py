"""Text generation with decoder-only models: prompts and chats, as the pipeline of transformers 5.23."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...running.batching import Batch, Row
from ...running.exceptions import InputTypeError
from ...running.inputs import as_call, as_list, as_text, plain
from ...running.loaded import Loaded
from ...running.options import require, require_bool, require_choice
from ...running.task import Call, Prepared, Task
from ...running.tokenising import encode_rows, lock_of, tokenize
from ...running.views import Texts
from .generating import (
    by_total_length,
    generate_options,
    keeps_padding,
    must_keep_order,
    run_generate,
    stated_value,
    with_defaults,
)
from .joined_rows import rows_may_join, run_joined

DEFAULTS = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}
KINDS = ("tensors", "new_text", "full_text")


@dataclass(frozen=True)
class TextGenerationOptions:
    return_full_text: bool | None = None
    return_tensors: bool | None = None
    return_text: bool | None = None
    return_type: Any = None
    clean_up_tokenization_spaces: bool | None = None
    prefix: str | None = None
    handle_long_generation: str | None = None
    stop_sequence: str | Sequence[str] | None = None
    truncation: Any = None
    padding: Any = None
    add_special_tokens: bool | None = None
    continue_final_message: bool | None = None
    skip_special_tokens: bool | None = None
    tokenizer_encode_kwargs: Mapping[str, Any] | None = None
    tools: Any = None
    documents: Any = None
    running_batch: bool | None = None
    forwarded: dict[str, Any] = field(default_factory=dict)
    arguments: Any = field(default=None, metadata={"internal": True})  # of generate, once ``check`` has found them

    def __post_init__(self) -> None:
        require_choice("handle_long_generation", self.handle_long_generation, (None, "hole"))
        require_bool("running_batch", self.running_batch, optional=True)
        if self.return_type is None and self.return_full_text is not None:
            require(self.return_text is None, "return_text and return_full_text must not both be given")
            require(self.return_tensors is None, "return_tensors and return_full_text must not both be given")
        if self.return_type is None and self.return_tensors is not None:
            require(self.return_text is None, "return_text and return_tensors must not both be given")

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` is returned."""
        if self.return_type is not None:
            return return_kind(self.return_type, KINDS)
        if self.return_full_text is not None:
            return "full_text" if self.return_full_text else "new_text"
        return "full_text" if self.return_tensors is None else "tensors"


def return_kind(value: Any, kinds: Sequence[str]) -> str:
    """A ``return_type``: one of ``kinds``, its number, or transformers' enumeration member."""
    value = getattr(value, "value", value)
    if isinstance(value, int) and 0 <= value < len(kinds):
        return kinds[value]
    require_choice("return_type", value, kinds)
    return str(value)


def read(inputs: Any = None, *, text_inputs: Any = None, **options: Any) -> Call:
    """A prompt, a chat (a list of messages), a list of either, or any iterable of either."""
    inputs = as_list(text_inputs if inputs is None else inputs)
    if inputs is None:
        raise InputTypeError("inputs must be a prompt, a chat, or several of them; got None")
    if _is_chat(inputs) or _is_chat(_messages(inputs)):
        return Call([inputs], "single", options)
    call = as_call(inputs, options)
    if call.kind != "stream":
        return call
    # A stream of messages is one chat, as in transformers: the first item tells.
    stream = iter(call.items)
    first = next(stream, None)
    if _is_message(first):
        return Call([[first, *stream]], "single", options)
    return Call(_again(first, stream) if first is not None else [], "stream", options)


def _again(first: Any, rest: Iterator[Any]) -> Iterable[Any]:
    yield first
    yield from rest


def _messages(item: Any) -> Any:
    """The messages of a ``Chat`` of transformers or of a dict that holds them; anything else as it is."""
    messages = item.get("messages") if isinstance(item, Mapping) else getattr(item, "messages", None)
    return messages if _is_chat(messages) else item


def _is_message(item: Any) -> bool:
    return isinstance(item, Mapping) and "role" in item and "content" in item


def _is_chat(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) > 0 and _is_message(item[0])


def parse(loaded: Loaded, item: Any, options: TextGenerationOptions) -> Any:
    item = _messages(plain(item))
    if _is_chat(item):
        for message in item:
            require(_is_message(message), "every message of a chat must have a role and a content")
        return list(item)
    return as_text(item, ("text", "prompt", "inputs", "text_inputs"), allow_empty=True)


def check(loaded: Loaded, options: TextGenerationOptions) -> TextGenerationOptions:
    require(
        not getattr(loaded.config, "is_encoder_decoder", False),
        f"model must be decoder-only for text-generation; got {type(loaded.model).__name__}",
    )
    return replace(options, arguments=generate_arguments(loaded, options))


def encode(loaded: Loaded, items: Sequence[Any], options: TextGenerationOptions) -> list[Prepared]:
    prompts = [item for item in items if isinstance(item, str)]
    rows = iter(_encode_prompts(loaded, prompts, options))
    prepared = []
    for item in items:
        row = next(rows) if isinstance(item, str) else _encode_chat(loaded, item, options)
        prepared.append(Prepared([_fit(loaded, row, options)], item))
    return prepared


def _tokenizer_options(options: TextGenerationOptions) -> dict[str, Any]:
    """What the caller asked of the tokenizer; nothing where nothing was asked."""
    given = {
        "add_special_tokens": options.add_special_tokens,
        "truncation": options.truncation,
        "padding": options.padding,
        "max_length": options.forwarded.get("max_length"),
    }
    return {
        **{name: value for name, value in given.items() if value is not None},
        **(options.tokenizer_encode_kwargs or {}),
    }


def _encode_prompts(loaded: Loaded, prompts: Sequence[str], options: TextGenerationOptions) -> list[Row]:
    if not prompts:
        return []
    prefix = _prefix(loaded, options.prefix)
    return encode_rows(loaded.tokenizer, [prefix + prompt for prompt in prompts], **_tokenizer_options(options))


def _encode_chat(loaded: Loaded, messages: list[Any], options: TextGenerationOptions) -> Row:
    """A chat by the tokenizer's template, ready for an answer or for going on with its last message."""
    given = _tokenizer_options(options)
    given.pop("add_special_tokens", None)
    going_on = _continues(messages, options)
    with lock_of(loaded.tokenizer):
        encoded = loaded.tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=not going_on,
            continue_final_message=going_on,
            return_dict=True,
            tools=options.tools,
            documents=options.documents,
            **given,
        )
    ids = encoded["input_ids"]
    inputs = {"input_ids": ids, "attention_mask": encoded.get("attention_mask", [1] * len(ids))}
    return Row(inputs, len(ids))


def _continues(messages: Sequence[Any], options: TextGenerationOptions) -> bool:
    """Whether the model goes on with the last message: by default where the assistant spoke last."""
    if options.continue_final_message is not None:
        return options.continue_final_message
    return bool(messages[-1]["role"] == "assistant")


def _prefix(loaded: Loaded, given: str | None) -> str:
    """What stands before every prompt: as given, the model's own, or for XLNet the passage transformers gives it."""
    given = given if given is not None else getattr(loaded.config, "prefix", None)
    if given is None and type(loaded.model).__name__ in ("XLNetLMHeadModel", "TransfoXLLMHeadModel"):
        from transformers import TextGenerationPipeline

        given = TextGenerationPipeline.XL_PREFIX
    return given or ""


def _fit(loaded: Loaded, row: Row, options: TextGenerationOptions) -> Row:
    """The row with its mask and no other input; an empty prompt as the start token; a long one cut on the left."""
    ids = row.inputs["input_ids"]
    mask = row.inputs.get("attention_mask", [1] * len(ids))
    if not len(ids):
        start = loaded.model.generation_config.bos_token_id
        require(start is not None, "prompt must not be empty for a model without a bos_token_id; got ''")
        start = start if isinstance(start, int) else start[0]
        return Row({"input_ids": [start], "attention_mask": [1]}, 1, None, {"empty": True})
    if options.handle_long_generation == "hole":
        arguments = generate_arguments(loaded, options)
        new = stated_value(loaded, arguments, "max_new_tokens")
        if new is None:
            new = (stated_value(loaded, arguments, "max_length") or 20) - len(ids)
            require(new >= 0, "max_length must be at least the prompt's length, or max_new_tokens be given")
        limit = loaded.tokenizer.model_max_length
        if len(ids) + new > limit:
            require(limit - new > 0, f"max_new_tokens must be below the model's {limit} tokens; got {new}")
            ids, mask = ids[-(limit - new) :], mask[-(limit - new) :]
    return Row({"input_ids": ids, "attention_mask": mask}, len(ids))


def generate_arguments(loaded: Loaded, options: TextGenerationOptions) -> dict[str, Any]:
    """The keyword arguments of generate."""
    if options.arguments is not None:
        found: dict[str, Any] = options.arguments
        return found
    given = dict(options.forwarded)
    if options.stop_sequence is not None:
        stops = options.stop_sequence
        given["stop_strings"] = [stops] if isinstance(stops, str) else list(stops)
        given["tokenizer"] = loaded.tokenizer
    elif given.get("stop_strings") is not None or given.get("assistant_tokenizer") is not None:
        given["tokenizer"] = loaded.tokenizer
    arguments = with_defaults(loaded, given, DEFAULTS)
    prefix = _prefix(loaded, options.prefix)
    if not prefix and loaded.compat:  # a call that takes the prefix away leaves transformers its length
        prefix = _prefix(loaded, loaded.constructed.get("prefix"))
    if prefix:
        special = bool(options.add_special_tokens)
        length = len(tokenize(loaded.tokenizer, prefix, add_special_tokens=special)["input_ids"])
        for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
            if total in arguments and new not in arguments:
                arguments[total] = arguments[total] + length
    return arguments


def forward(loaded: Loaded, batch: Batch, options: TextGenerationOptions) -> list[Any]:
    keep = keeps_padding(loaded, options.kind)
    return run_generate(loaded, batch, generate_arguments(loaded, options), keep_padding=keep)


def joined(loaded: Loaded, rows: Sequence[tuple[int, Row]], options: TextGenerationOptions) -> list[Any] | None:
    arguments = generate_arguments(loaded, options)
    return run_joined(loaded, rows, arguments) if rows_may_join(loaded, arguments, options.running_batch) else None


def in_order(loaded: Loaded, options: TextGenerationOptions) -> bool:
    arguments = generate_arguments(loaded, options)
    return must_keep_order(loaded, arguments) and not rows_may_join(loaded, arguments, options.running_batch)


def equal_lengths(loaded: Loaded, options: TextGenerationOptions) -> bool:
    return by_total_length(loaded, generate_arguments(loaded, options))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: TextGenerationOptions
) -> list[Any]:
    return [_records(loaded, item, rows[0], options) for item, rows in zip(items, outputs, strict=True)]


def _records(loaded: Loaded, item: Prepared, output: dict[str, Any], options: TextGenerationOptions) -> Any:
    """The records of one prompt's sequences: token ids, the new text, the whole text, or the chat with its answer."""
    templated = getattr(loaded.tokenizer, "response_template", None) is not None
    skip = (True if options.skip_special_tokens is None else options.skip_special_tokens) and not templated
    prompt = 0 if item.rows[0].facts.get("empty") else output["prompt"]
    decoding = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces}
    records = Texts()
    for number, sequence in enumerate(output["sequences"]):
        if options.kind == "tensors":
            records.append({"generated_token_ids": sequence})
            continue
        text = loaded.tokenizer.decode(sequence[prompt:], **decoding)
        whole: Any = text
        if options.kind == "full_text" and isinstance(item.facts, str):
            whole = item.facts + text
        elif options.kind == "full_text":
            before = loaded.tokenizer.decode(sequence[:prompt], **decoding) if templated else ""
            whole = _chat_with(loaded, item.facts, text, before, options)
        others = {name: values[number] for name, values in output["others"].items()}
        records.append({"generated_text": whole, **others})
    return records


def _chat_with(
    loaded: Loaded, messages: list[Any], text: str, before: str, options: TextGenerationOptions
) -> list[Any]:
    """The chat with what was generated: at the end of its last message, or as a new one."""
    last = messages[-1]
    if _continues(messages, options):
        return [*messages[:-1], {"role": last["role"], "content": last["content"] + text}]
    if getattr(loaded.tokenizer, "response_template", None) is not None:
        return [*messages, loaded.tokenizer.parse_response(text, prefix=before, tools=options.tools)]
    return [*messages, {"role": "assistant", "content": text}]


TASK = Task(
    name="text-generation",
    auto_classes=("AutoModelForCausalLM",),
    options=TextGenerationOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
    forwarded=generate_options,
    in_order=in_order,
    equal_lengths=equal_lengths,
    pad_left=True,
    joined=joined,
    shortening='handle_long_generation="hole" cuts it on the left',
)
